"""What earlier versions left on disk, read as this version would have written it; the files stay as they are.

sngan-checkpoint-4   in part of its time each rank always had batch statistics of its own, sigma was always of the matrix, and a batch was never split
sngan-checkpoint-3   samples were always rounded to the nearest level
sngan-checkpoint-2   in part of its time there was one engine, a score was of one draw, and there was no precision and recall
"""

from __future__ import annotations

from typing import Any

FORMATS = ("sngan-checkpoint-3", "sngan-checkpoint-2")
"""The formats of checkpoints that differ from today's in the config alone."""

CONFIG = {"engine": "auto", "on_nan": "stop", "sync_batch_norm": False, "accumulate": 1}
NETWORK = {"norm_of": "matrix"}
PROTOCOL = {"rounding": "nearest", "draws": 1, "n_precision_recall": 10_000}
"""Keys that came later, with the values that say what was done before."""


def config(values: dict[str, Any]) -> dict[str, Any]:
    """A run's config."""
    later: dict[str, dict[str, Any]] = {"protocol": PROTOCOL, "quick": PROTOCOL, "generator": NETWORK, "discriminator": NETWORK}
    return {**CONFIG, **{key: _with(later.get(key, {}), value) for key, value in values.items()}}


def record(line: dict[str, Any]) -> dict[str, Any]:
    """A line of `metrics.jsonl`."""
    return {key: _with(PROTOCOL, value) if key == "protocol" else value for key, value in line.items()}


def _with(later: dict[str, Any], values: Any) -> Any:
    return {**later, **values} if isinstance(values, dict) else values
