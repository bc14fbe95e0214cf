"""What `sngan sample` is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from sngan.config import MOST_SAMPLES, Component, Device, Section


def _numbers(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    ranges = [_range(part) for part in (value if isinstance(value, list) else [value])]
    n = sum(map(len, ranges))
    if not 0 < n <= MOST_SAMPLES or any(numbers.stop > 2**63 for numbers in ranges):
        raise ValueError(f"input should name 1 to {MOST_SAMPLES} numbers from 0 to 2^63 - 1")
    named = [number for numbers in ranges for number in numbers]
    if len(set(named)) < n:
        raise ValueError("input should name each number once")
    return tuple(named)


def _range(value: Any) -> range:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return range(value, value + 1)
    match = re.fullmatch(r"([0-9]{1,19})-([0-9]{1,19})", value) if isinstance(value, str) else None
    if not match or int(match[1]) > int(match[2]):
        raise ValueError("input should be a number, a range such as 0-31, or a list of these such as [0,4-7]")
    return range(int(match[1]), int(match[2]) + 1)


Numbers = Annotated[tuple[int, ...] | None, PlainValidator(_numbers)]
"""Whole numbers from 0 on, given as 3, as 0-31 (both ends included), or as a list of these; null is None."""


class Sample(Section):
    """What `sngan sample` is asked for."""

    run: Path | None
    checkpoint: Path | None
    weights: Literal["ema", "raw"]
    mode: Component
    """Images, a film or a table of images."""
    n: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] | None
    """The number of latents of each seed; null: the mode's default, which is usually 1 for each of several seeds."""
    seed: Numbers
    """The seeds of the latents; null: 0, or the run's seed if the mode shows a whole run."""
    label: Numbers
    """Classes, in turn; null: all."""
    out: Path | None
    """A file or a folder; null: the mode's default."""
    device: Device
    plugins: tuple[str, ...]
