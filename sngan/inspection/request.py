"""The request of `sngan inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sngan.config import Data, Device, Section, Seed

MOST_PAIRED = 10_000
"""All pairs of twice as many images are looked at: 400 million."""


class Inspect(Section):
    """The request of `sngan inspect`."""

    run: Path | None
    checkpoint: Path | None
    weights: Literal["ema", "raw"]
    """Which G is inspected and makes the samples."""
    n: Annotated[int, Field(ge=0, le=MOST_PAIRED)]
    """How many real images and how many samples make the pairs; 0: none."""
    seed: Seed
    data: Data | None
    """Real images other than those the run was trained on."""
    format: Literal["table", "json"]
    plot: Annotated[Literal["none"] | Path, Field(union_mode="left_to_right")] | None
    """A PNG file; null: in the run's folder; none: no plot."""
    device: Device
    plugins: tuple[str, ...]
