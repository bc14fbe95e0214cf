"""The request of `sngan export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from sngan.config import Device, Section


class Export(Section):
    """The request of `sngan export`."""

    run: Path | None
    checkpoint: Path | None
    weights: Literal["ema", "raw"]
    format: Literal["onnx", "torch_export", "torchscript", "weights"]
    out: Path | None
    """A folder that is made; null: `export-<format>` in the working folder."""
    uint8: bool
    """Images uint8 in 0..255 in the place of floats in [-1, 1]."""
    truncation: NonNegativeFloat | None
    """The psi to which latents are truncated inside; null: not at all."""
    license: Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=100)] | None
    """An SPDX identifier, for the card."""
    device: Device
    """Where batch-norm statistics are measured; the file is made and compared on the CPU."""
    plugins: tuple[str, ...]
