"""Keys of a config, named with dots."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"optimizer": {"lr": 0.1}}` -> `{"optimizer.lr": 0.1}`; an empty section is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def is_among(key: str, keys: Collection[str]) -> bool:
    """Whether the key, or a section that it lies in, is one of these."""
    parts = key.split(".")
    return any(".".join(parts[: n + 1]) in keys for n in range(len(parts)))
