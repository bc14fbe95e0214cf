"""The request of `sngan benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sngan.config import Config


class Benchmark(Config):
    """The request of `sngan benchmark`: a run's networks, loss and data, and how its training step is timed."""

    rounds: Annotated[int, Field(ge=1, le=1000)]
    """Timings of each variant, in turn with the others."""
    variants: tuple[str, ...]
    """Variants by name; (): all."""
    format: Literal["table", "json"]
    out: Path | None
    """A file for the whole record."""
