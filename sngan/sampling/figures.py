"""Images in rows and columns, magnified and labelled, as one picture for the screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sngan.data.images import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 384
"""Images are magnified until the longer side of the sheet has at least so many pixels; the factor is whole, so that pixels stay square."""

MOST_ZOOM = 8
"""The largest factor by which an image is magnified."""

GAP = 4
"""Pixels between images, and around text."""

FONT_SIZE = 14
INK = "black"
PAPER = "white"


@dataclass(frozen=True)
class Sheet:
    """Images uint8 [N, C, H, W], laid out row by row, and their labels; the last row may be short."""

    images: Tensor
    columns: int
    over: str = ""
    """The title."""
    heads: Sequence[str] = ()
    """A label over each column."""
    sides: Sequence[str] = ()
    """A label left of each row."""
    under: Sequence[str] = ()
    """A label under each image."""


def near_square(n: int) -> int:
    """The number of columns in which n images are laid out as a square, or nearly so."""
    return math.ceil(math.sqrt(n))


def draw(sheet: Sheet) -> Image:
    """The sheet as an RGB picture, whose size is a function of the labels and of the number and size of the images."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    n, _, H, W = sheet.images.shape
    rows = math.ceil(n / sheet.columns)
    widest = max((font.getlength(text) for text in [*sheet.heads, *sheet.under]), default=0)
    zoom = min(math.ceil(LONGEST / max(rows * H, sheet.columns * W)), MOST_ZOOM)
    zoom = max(zoom, math.ceil((widest - GAP) / W))
    line = FONT_SIZE + GAP
    left = math.ceil(max(map(font.getlength, sheet.sides), default=0)) + (2 * GAP if sheet.sides else GAP)
    top = 2 * GAP + line * (bool(sheet.over) + bool(sheet.heads))
    width, height = W * zoom + GAP, H * zoom + GAP + (line if sheet.under else 0)  # of a cell
    picture = Image.new("RGB", (left + sheet.columns * width, top + rows * height), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((left, GAP), sheet.over, INK, font)
    for column, text in enumerate(sheet.heads):
        pen.text((left + column * width + W * zoom // 2, top - GAP), text, INK, font, anchor="md")
    for row, text in enumerate(sheet.sides):
        pen.text((left - GAP, top + row * height + H * zoom // 2), text, INK, font, anchor="rm")
    for i, image in enumerate(sheet.images.cpu()):
        x, y = left + i % sheet.columns * width, top + i // sheet.columns * height
        picture.paste(_magnified(image, zoom), (x, y))
        if sheet.under:
            pen.text((x + W * zoom // 2, y + H * zoom + GAP // 2), sheet.under[i], INK, font, anchor="ma")
    return picture


def _magnified(image: Tensor, zoom: int) -> Any:
    from PIL import Image

    pixels = as_rgb(image).permute(1, 2, 0).repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)  # [H', W', C]
    return Image.fromarray(pixels.numpy())
