"""The requests of `sngan report` and `sngan watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from sngan.config import Device, Section


class Report(Section):
    """The request of `sngan report`."""

    paths: tuple[Path, ...]
    """Runs, or folders of them."""
    out: Path | None
    """null: `report.html` (or .md, .csv) in the folder that is named, or in the working folder if there are several."""
    format: Literal["html", "markdown", "csv"] | None
    """null: as the name of `out` says, else html."""
    neighbours: Annotated[int, Field(ge=0, le=100)]
    """Samples of a single run that are shown beside their nearest training images; 0: none."""
    device: Device
    plugins: tuple[str, ...]


class Watch(Section):
    """The request of `sngan watch`."""

    paths: tuple[Path, ...]
    """Runs, or folders of them."""
    port: Annotated[int, Field(ge=0, lt=2**16)]
    """0: a free one."""
    every: PositiveInt
    """Seconds after which the page is made anew."""
    neighbours: Annotated[int, Field(ge=0, le=100)]
    device: Device
    plugins: tuple[str, ...]
