"""Pictures inside a page: as data addresses, so that the file stays whole wherever it is taken."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sngan.processes import open_regular

MOST_FRAMES = 24
"""The most grids in the slider through a run, about 0.1 MB each."""

MOST_WIDTH = 720
"""Pixels of a grid that is one of several; larger ones are made smaller, but for the final one."""


class Picture(NamedTuple):
    """An address that holds the picture itself, and its size in pixels."""

    address: str
    width: int
    height: int


def png(image: Tensor) -> Picture:
    """An image uint8 [C, H, W], C = 1, 3 or 4, on the CPU; nothing is lost."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()  # [H, W, C]
    return _picture(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), "PNG")


def from_file(path: Path, *, small: bool) -> Picture | None:
    """A grid of samples, without loss, or `small`: as a JPEG file without colour subsampling, which would show in images of 32 pixels.

    None where the file is no picture, or a link.
    """
    from PIL import Image

    try:
        with open_regular(path) as content, Image.open(content, formats=["PNG"]) as opened:
            image = opened.convert("RGB")
    except Exception:  # decoders raise almost anything on bytes that they do not expect
        return None
    if not small:
        return _picture(image, "PNG")
    if image.width > MOST_WIDTH:
        image = image.resize((MOST_WIDTH, round(image.height * MOST_WIDTH / image.width)), Image.Resampling.LANCZOS)
    return _picture(image, "JPEG", quality=90, subsampling=0)


def spread_out(steps: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly, with the first and the last."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _picture(image: object, kind: str, **options: int) -> Picture:
    from PIL import Image

    assert isinstance(image, Image.Image)
    written = io.BytesIO()
    image.save(written, kind, **options)
    encoded = base64.b64encode(written.getvalue()).decode()
    return Picture(f"data:image/{kind.lower()};base64,{encoded}", image.width, image.height)
