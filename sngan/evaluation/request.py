"""What `sngan evaluate` is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sngan.config import MOST_SAMPLES, Component, Data, Device, Protocol, Section


class Evaluate(Section):
    """The request of `sngan evaluate`; null takes what the run was trained with."""

    run: Path | None
    checkpoint: Path | None
    samples: Path | None
    """A folder of pictures or an .npz file."""
    real: Literal["train", "test"] | None
    """Real images of a split in the place of samples."""
    all: bool
    """Every checkpoint of the run."""
    weights: Literal["ema", "raw"]
    protocol: Protocol | None
    extractor: Component | None
    n: Annotated[int, Field(ge=2, le=MOST_SAMPLES)] | None
    data: Data | None
    """Reference images other than those the run was trained on."""
    against: Path | None
    """Reference images from a folder of pictures or an .npz file."""
    format: Literal["table", "json"]
    device: Device
    plugins: tuple[str, ...]
