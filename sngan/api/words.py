"""Keys as Python values, as words of a command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sngan.cli.overrides import written
from sngan.data.own import OwnImages
from sngan.errors import UserError
from sngan.keys import flat


def words_of(keys: Mapping[str, Any]) -> list[str]:
    """`{"loss": "bce", "optimizer": {"lr": 1e-4}}` -> `["loss=bce", "optimizer.lr=0.0001"]`; `UserError` for what is no plain value."""
    words = []
    for key, value in flat(keys).items():
        try:
            words.append(f"{key}={written(str(value) if isinstance(value, Path) else value)}")
        except (TypeError, UserError):
            raise UserError(f"{key}={value!r}: give text on one line, a number, True, False, None, or a list of these") from None
    return words


def own_data(keys: dict[str, Any]) -> dict[str, Any]:
    """The keys with images in the place of `data`'s name as the hash of their content, under which this process then has them."""
    data = keys.get("data")
    if data is None or isinstance(data, str):
        return keys
    own = data if isinstance(data, OwnImages) else OwnImages(data)
    return {**keys, "data": "own", "data.sha256": own.sha256}
