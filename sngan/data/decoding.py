"""One picture as an image of a given form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, features
from torch import Tensor
from tqdm import tqdm

from sngan.config import Resolution, sides
from sngan.data.arrays import Range

_ALL = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpeg", ".jpg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_READ = {name: suffixes for name, suffixes in _ALL.items() if name != "AVIF" or features.check("avif")}

SUFFIXES = tuple(sorted(suffix for suffixes in _READ.values() for suffix in suffixes))
FORMATS = tuple(_READ)
"""What a file may turn out to be, whatever its suffix. Pillow knows more, among them PostScript, for which it starts a program."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's name of an image by its number of channels."""

Channels = Literal["auto", 1, 3, 4]
"""1: grey; 3: RGB, with transparency laid over white; 4: RGBA; auto: as the images are, where a folder's pictures are 1 if all are grey, else 3."""

Fit = Literal["crop", "pad", "stretch"]
"""How a picture of another size comes to the resolution: resized until it fills it, its centre cut out; or kept whole, in the middle
of black, shrunk if it is larger and never enlarged; or each side resized by itself."""


@dataclass(frozen=True)
class Form:
    """What pictures are to become."""

    resolution: Resolution
    channels: int = 3
    fit: Fit = "crop"
    deep: Range | None = None
    """Black and white of pictures of more than 8 bits; None: 0 and 65535, of 16 bits."""
    cut: int | None = None
    """The side of a square that is cut out of the middle first."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: (C, H, W)."""
        return self.channels, *sides(self.resolution)

    def __str__(self) -> str:
        """For hashes: of two forms that differ, texts that differ; of RGB pictures that are cut out, the resolution alone."""
        more = [f"{key}={value}" for key, value, plain in self._parts() if value != plain]
        return " ".join(["x".join(map(str, dict.fromkeys(sides(self.resolution)))), *more])

    def _parts(self) -> list[tuple[str, object, object]]:
        return [("channels", self.channels, 3), ("fit", self.fit, "crop"), ("range", self.deep, None), ("cut", self.cut, None)]


def read_picture(file: IO[bytes], form: Form) -> Tensor:
    """The picture, uint8 [C, H, W] in 0..255, resized by an antialiased filter (Lanczos). Raises as `decode` does."""
    return as_tensor(fitted(in_form(decode(file, form), form), form))


def as_tensor(image: Image.Image) -> Tensor:
    """uint8 [C, H, W]."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()


def decode(file: IO[bytes], form: Form) -> Image.Image:
    """The whole picture in its own mode, turned upright as its EXIF tag says, at least twice the resolution on its sides if the file has as much.

    Of several frames the first is taken. Raises what Pillow raises for a file that is not whole: nearly any exception.
    """
    with Image.open(file, formats=FORMATS) as image:
        # a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size; twice what we need keeps the resizing good
        side = 2 * max(sides(form.resolution))  # the larger: EXIF may turn the picture
        if form.cut is None:
            image.draft(None, (side, side))
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        return image


def is_grey(file: IO[bytes]) -> bool:
    """Whether a file says, in its head, that it has no colours. Raises as `decode` does."""
    with Image.open(file, formats=FORMATS) as image:
        return image.mode in ("1", "L", "LA") or image.mode.startswith("I")


def in_form(image: Image.Image, form: Form) -> Image.Image:
    """A picture of any mode in the channels of the form."""
    return in_mode(image, MODES[form.channels], form.deep)


def in_mode(image: Image.Image, mode: str, deep: Range | None = None) -> Image.Image:
    """A picture of any mode as L, RGB or RGBA.

    Transparency is laid over white, unless the mode has it. Of 16 bits the upper 8 stay or, between the black and white of `deep`, as of more
    bits, the nearest of 256 levels.
    """
    if image.mode in ("I", "F") and deep is None:
        raise ValueError(f"pixels of type {image.mode} have no known range; give it as data.range=[0,255]")
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), deep))  # Pillow's own conversion clips at 255
    if image.has_transparency_data and mode != "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert(mode)


def _eight_bits(values: np.ndarray[Any, Any], deep: Range | None) -> np.ndarray[Any, Any]:
    if deep is None or (deep == (0, 65535) and values.dtype == np.uint16):
        return (values >> 8).astype(np.uint8)
    low, high = deep
    if not (low <= values.min() and values.max() <= high):
        raise ValueError(f"it has values from {values.min()} to {values.max()}, beyond data.range=[{low:g},{high:g}]")
    return np.rint((values.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)


def fitted(image: Image.Image, form: Form) -> Image.Image:
    """The image at the resolution, as `Fit` says."""
    height, width = sides(form.resolution)
    if form.cut is not None:
        left, top = (image.width - form.cut) // 2, (image.height - form.cut) // 2
        image = image.crop((left, top, left + form.cut, top + form.cut))
    if form.fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    if form.fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    if image.width > width or image.height > height:
        image = ImageOps.contain(image, (width, height), Image.Resampling.LANCZOS)
    whole = Image.new(image.mode, (width, height))  # black; of RGBA transparent
    whole.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return whole


def converted(pixels: Tensor, form: Form, what: str) -> Tensor:
    """Images uint8 [N, C, H, W] in the form's channels and at its resolution; a progress bar, which says what they are, shows past two seconds."""
    if tuple(pixels.shape[1:]) == (form.channels, *sides(form.resolution)):
        return pixels
    out = torch.empty(len(pixels), form.channels, *sides(form.resolution), dtype=torch.uint8)
    for place, image in tqdm(zip(out, pixels, strict=True), f"converting {what}", len(pixels), delay=2, disable=None):
        picture = in_form(Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()), form)
        place.copy_(as_tensor(fitted(picture, form)))
    return out
