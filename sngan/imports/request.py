"""The request of `sngan import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sngan.config import Resolution, Section

Rival = Literal["mimicry", "studiogan", "gan_collections", "torch_fidelity"]


class Import(Section):
    """The request of `sngan import`."""

    rival: Rival | None
    """The project that wrote the files."""
    files: tuple[Path, ...]
    """A generator, a discriminator, or both; each in a file, or both in one."""
    out: Path | None
    """The folder of the checkpoint, which is made."""
    resolution: Resolution | None
    """The side of the images, where a discriminator alone leaves it open."""
    data: str | None
    """The data set of the checkpoint's config, with which `sngan evaluate` compares; null: by their size and classes."""
    license: Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=100)] | None
    """An SPDX identifier of the weights, for the card."""
