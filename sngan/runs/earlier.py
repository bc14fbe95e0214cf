"""What earlier versions left on disk, read as this version would have written it; the files stay as they are.

Until `sngan-checkpoint-3` a protocol had no `rounding`, because samples were always rounded to the nearest level.
"""

from __future__ import annotations

from typing import Any

FORMAT = "sngan-checkpoint-3"
"""The format of checkpoints that differ from today's in this alone."""


def config(values: dict[str, Any]) -> dict[str, Any]:
    """A run's config."""
    return {key: _protocol(value) if key in ("protocol", "quick") else value for key, value in values.items()}


def record(line: dict[str, Any]) -> dict[str, Any]:
    """A line of `metrics.jsonl`."""
    return {key: _protocol(value) if key == "protocol" else value for key, value in line.items()}


def _protocol(values: Any) -> Any:
    return {"rounding": "nearest", **values} if isinstance(values, dict) else values
