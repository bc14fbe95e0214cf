"""One picture file as a square RGB image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sngan.processes import open_regular

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may turn out to be, whatever its suffix. Pillow knows more, among them PostScript, for which it starts a program."""


def read_picture(path: Path, resolution: int) -> Tensor:
    """The picture, uint8 [3, resolution, resolution] in 0..255: its short side resized (Lanczos, antialiased), its centre cut out.

    Raises as `decode` does.
    """
    picture = ImageOps.fit(decode(path, resolution), (resolution, resolution), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def decode(path: Path, resolution: int) -> Image.Image:
    """The whole picture in RGB, turned upright as its EXIF tag says, at least twice `resolution` on its sides if the file has as much.

    Transparency is laid over white; grey, palette and CMYK become RGB; of 16 bits the upper 8 stay; of several frames the first is
    taken. Raises what Pillow raises for a file that is not whole: nearly any exception.
    """
    with open_regular(path, follow=True) as file, Image.open(file, formats=FORMATS) as image:
        # a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size; twice what we need keeps the resizing good
        image.draft(None, (2 * resolution, 2 * resolution))
        ImageOps.exif_transpose(image, in_place=True)
        return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode in RGB, as `decode` says."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # Pillow's own conversion clips at 255
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of type {image.mode} have no known range")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
