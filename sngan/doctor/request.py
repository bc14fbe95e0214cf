"""The request of `sngan doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sngan.config import Data, Device, Section, Seed

MOST_LOOKED_AT = 10_000
"""The distances of all pairs of them are in memory at once: 0.2 GB."""


class Doctor(Section):
    """The request of `sngan doctor`."""

    run: Path | None
    checkpoint: Path | None
    n: Annotated[int, Field(ge=2, le=MOST_LOOKED_AT)]
    """Training images, held-out images and samples, of each so many or all that there are."""
    seed: Seed
    data: Data | None
    """Real images other than those the run was trained on."""
    features: bool
    """Whether the run's extractor looks at the samples and, once, at all training images."""
    format: Literal["table", "json"]
    out: Path | None
    """A JSON file."""
    device: Device
    plugins: tuple[str, ...]
