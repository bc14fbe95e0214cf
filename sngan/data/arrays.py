"""Arrays of images in the forms that people have, as uint8 [N, C, H, W]."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sngan.errors import UserError

log = logging.getLogger(__name__)

Layout = Literal["nhwc", "nchw", "nhw"]
Range = tuple[float, float]
"""The values of black and white."""

CHANNELS = (1, 3, 4)
"""Grey, RGB, RGBA."""

WHITES = (1, 255, 1023, 4095, 16383, 65535)
"""The largest whole numbers of 1, 8, 10, 12, 14 and 16 bits: what integers without a stated range may mean by white."""

CHUNK = 1000
"""Images that are scaled at once."""


def layout_of(shape: Sequence[int], stated: Layout | None, where: str) -> Layout:
    """Where the channels are: the only axis that can hold 1, 3 or 4 of them, or the only such that leaves squares.

    Raises `UserError`, which names the key, if that is not certain.
    """
    fitting: list[Layout] = []
    if len(shape) == 4:
        fitting = [layout for layout, axis in (("nhwc", 3), ("nchw", 1)) if shape[axis] in CHANNELS]  # type: ignore[misc]
    elif len(shape) == 3:
        fitting = ["nhw"]
    if stated is not None:
        fitting = [layout for layout in fitting if layout == stated]
    if not fitting or 0 in shape:
        as_stated = "" if stated is None else f" (data.layout={stated})"
        raise UserError(f"{where}; images are numbers [N, H, W, C], [N, C, H, W] or [N, H, W] with C = 1, 3 or 4{as_stated}")
    square = [layout for layout in fitting if len(set(size_in(shape, layout)[1:])) == 1]
    if len(fitting) > 1 and len(square) == 1:
        return square[0]
    if len(fitting) > 1 or (stated is None and len(shape) == 3 and shape[2] in CHANNELS[1:]):
        either = "nhwc or data.layout=nchw" if len(shape) == 4 else "nhw, or give [N, H, W, C] where this is one picture [H, W, C]"
        raise UserError(f"{where}, whose axes may be read in two ways; give data.layout={either}")
    return fitting[0]


def size_in(shape: Sequence[int], layout: Layout) -> tuple[int, int, int]:
    """(C, H, W) of the images in an array of this shape."""
    match layout:
        case "nhwc":
            return shape[3], shape[1], shape[2]
        case "nchw":
            return shape[1], shape[2], shape[3]
        case _:
            return 1, shape[1], shape[2]


def channels_first(images: np.ndarray[Any, Any], layout: Layout) -> np.ndarray[Any, Any]:
    """A view as [N, C, H, W]."""
    match layout:
        case "nhwc":
            return images.transpose(0, 3, 1, 2)
        case "nchw":
            return images
        case _:
            return images[:, None]


def range_of(images: np.ndarray[Any, Any], where: str, *, key: str = "data.range") -> Range:
    """Black and white of images without a stated range, where their type and values leave no doubt; else `UserError`, which names the key.

    uint8 is 0..255. Numbers in [0, 1] and in [-1, 1] are of that range; whole numbers from 0 on are of the smallest of `WHITES` that holds them.
    """
    low, high = float(images.min()), float(images.max())
    if images.dtype == np.uint8:
        if high <= 1:
            log.warning(f"{where} has no value above {high:g} of 255 and so is black; {key}=[0,1] makes 1 white")
        return 0, 255
    if low >= 0 and high <= 1:
        return 0, 1
    if images.dtype.kind == "f" and low >= -1 and high <= 1:
        return -1, 1
    if low >= 0 and high <= WHITES[-1] and _whole(images):
        return 0, next(white for white in WHITES if high <= white)
    raise UserError(
        f"{where} has values from {low:g} to {high:g}, which do not say what black and white are; give them, as {key}=[0,255] "
        f"or {key}=[{low:g},{high:g}]"
    )


def _whole(images: np.ndarray[Any, Any]) -> bool:
    parts = (images[i : i + CHUNK] for i in range(0, len(images), CHUNK))
    return images.dtype.kind in "bui" or all(bool((part == np.rint(part)).all()) for part in parts)


def to_uint8(images: np.ndarray[Any, Any], values: Range, where: str, *, key: str = "data.range") -> Tensor:
    """[N, C, H, W] from black to white -> uint8 in 0..255, the nearest of 256 levels; `UserError` for a value beyond the range, and NaN."""
    low, high = values
    pixels = np.empty(images.shape, dtype=np.uint8)
    for i in range(0, len(images), CHUNK):
        part = images[i : i + CHUNK]
        if not (low <= part.min() and part.max() <= high):  # also for NaN
            raise UserError(
                f"{where} has values from {part.min():g} to {part.max():g}, beyond {key}=[{low:g},{high:g}]; give the range that they have"
            )
        if part.dtype != np.uint8 or values != (0, 255):
            part = np.rint((part.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)
        pixels[i : i + CHUNK] = part
    return torch.from_numpy(pixels)
