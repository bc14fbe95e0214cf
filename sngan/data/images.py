"""What a data set is to the rest of the program: a `Source` of `Images`, described by an `ImageSpec`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sngan.config import Resolution, sides, size_of
from sngan.errors import UserError

Split = Literal["train", "test"]

MOST_CLASSES = 2**24
"""Labels beyond it are no labels."""


@dataclass(frozen=True)
class ImageSpec:
    """What networks must know of the images: `channels` x `height` x `width`; `n_classes` is 0 without labels.

    `resolution` is the side of square images, (height, width) of others.
    """

    resolution: Resolution
    channels: int
    n_classes: int

    def __post_init__(self) -> None:
        height, width = sides(self.resolution)
        object.__setattr__(self, "resolution", height if height == width else (height, width))

    @property
    def height(self) -> int:
        """H, in pixels."""
        return sides(self.resolution)[0]

    @property
    def width(self) -> int:
        """W, in pixels."""
        return sides(self.resolution)[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: (C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def size(self) -> str:
        """Height x width, for messages: '32' for squares, '64 x 96'."""
        return size_of(self.resolution)


def game_spec(spec: ImageSpec, *, conditional: bool) -> ImageSpec:
    """The spec that the networks are built for: without classes unless `conditional`; `UserError` if labels are needed and there are none."""
    if not conditional:
        return replace(spec, n_classes=0)
    if not spec.n_classes:
        raise UserError(
            "conditional=true needs labels, and this data set has none; use conditional=false, or a data set with labels"
        )
    return spec


def check_size(spec: ImageSpec, expected: ImageSpec, *, key: str) -> None:
    """Raises `UserError`, naming the key, for images whose size is not the checkpoint's."""
    if spec.shape != expected.shape:
        raise UserError(
            f"{key} has images of {spec.channels} x {spec.size} px, the checkpoint makes {expected.channels} x "
            f"{expected.size}; take images of its own size"
        )


def halved(spec: ImageSpec, times: int, *, why: str, change: str) -> tuple[int, int]:
    """Height and width after so many halvings; `UserError`, with `why` and what to `change`, if they are no whole numbers."""
    factor: int = 2**times
    if spec.height % factor or spec.width % factor:
        height, width = (-(-side // factor) * factor for side in (spec.height, spec.width))
        fitting = height if height == width else f"[{height},{width}]"
        raise UserError(
            f"{why} {times} times: the resolution must be a multiple of {factor}, not {spec.size}; {change},\n"
            f"or give data.resolution={fitting}, with data.fit=pad if images are to be kept whole, where the data set has these keys"
        )
    return spec.height // factor, spec.width // factor


SHOWN = {1: "grey, repeated in three channels", 4: "transparency laid over white"}
"""What `as_rgb` does, by the number of channels, for records."""


def as_rgb(images: Tensor) -> Tensor:
    """uint8 [..., C, H, W] -> [..., 3, H, W], as `SHOWN` says: for what takes or shows three channels."""
    if images.shape[-3] == 4:
        opaque = images[..., 3:, :, :].float() / 255
        return (images[..., :3, :, :] * opaque + 255 * (1 - opaque)).round().to(torch.uint8)
    return images.expand(*images.shape[:-3], 3, -1, -1)


class Images(Dataset[tuple[Tensor, int]]):
    """The images of one split, by index: `images[i]` is (uint8 [C, H, W] in 0..255, label); the label is 0 where there are none.

    Reading by index may decode a file; `TensorImages` has everything in memory.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise NotImplementedError

    def sha256(self) -> str:
        """A hash, in hexadecimal, of everything that determines the pixels: it changes when an image does."""
        raise NotImplementedError


class TensorImages(Images):
    """Images that are in memory: `pixels` uint8 [N, C, H, W], `labels` int64 [N] (zeros where there are none)."""

    def __init__(self, pixels: Tensor, labels: Tensor | None = None):
        assert pixels.dtype == torch.uint8 and pixels.dim() == 4, (pixels.dtype, pixels.shape)
        self.pixels = pixels
        self.labels = torch.zeros(len(pixels), dtype=torch.int64) if labels is None else labels
        assert self.labels.dtype == torch.int64 and self.labels.shape == pixels.shape[:1]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pixels[index], int(self.labels[index])

    def sha256(self) -> str:
        digest = hashlib.sha256(str(list(self.pixels.shape)).encode())
        digest.update(self.pixels.contiguous().numpy().data)
        return digest.hexdigest()


class Source(ABC):
    """A data set, before any pixel is read. Constructing one is cheap; it raises `UserError` if the data are missing.

    `name` is what score names call it ('cifar10'); `spec` is known at once.
    """

    name: str
    spec: ImageSpec

    listing: str | None = None
    """A hash of which images there are, in which order and of which classes, where the config alone does not say it."""

    unlike_earlier: str | None = None
    """In which way the listing is another than that of versions that recorded none; None if it is the same."""

    @abstractmethod
    def count(self, split: Split) -> int:
        """The number of images in the split, known before any is read and so with unreadable ones; `UserError` if there is no such split."""

    @abstractmethod
    def load(self, split: Split) -> Images:
        """The images of a split, in an order that is the same in every run.

        May download, decode or draw (with a progress bar past two seconds). Raises `UserError` for a split that does not exist or
        for files that cannot be read.
        """
