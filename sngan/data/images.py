"""What a data set is to the rest of the program: a `Source` of `Images`, described by an `ImageSpec`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sngan.errors import UserError

Split = Literal["train", "test"]

MOST_CLASSES = 2**24
"""Labels beyond it are no labels."""


@dataclass(frozen=True)
class ImageSpec:
    """What networks must know of the images: square, `channels` x `resolution` x `resolution`; `n_classes` is 0 without labels."""

    resolution: int
    channels: int
    n_classes: int


def game_spec(spec: ImageSpec, *, conditional: bool) -> ImageSpec:
    """The spec that the networks are built for: without classes unless `conditional`; `UserError` if labels are needed and there are none."""
    if not conditional:
        return replace(spec, n_classes=0)
    if not spec.n_classes:
        raise UserError(
            "conditional=true needs labels, and this data set has none; use conditional=false, or a data set with labels"
        )
    return spec


def refuse_labels(spec: ImageSpec, network: str) -> None:
    """Raises `UserError` if the config asks for labels in a network, such as 'generator.name=cnn', that cannot be class-conditional."""
    if spec.n_classes:
        group = network.partition(".")[0]
        raise UserError(f"{network} cannot be class-conditional; use {group}=resnet, or conditional=false")


def check_size(spec: ImageSpec, expected: ImageSpec, *, key: str) -> None:
    """Raises `UserError`, naming the key, for images whose size is not the checkpoint's."""
    if (spec.resolution, spec.channels) != (expected.resolution, expected.channels):
        raise UserError(
            f"{key} has images of {spec.channels} x {spec.resolution} px, the checkpoint makes {expected.channels} x "
            f"{expected.resolution}; take images of its own size"
        )


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

    @abstractmethod
    def count(self, split: Split) -> int:
        """The number of images in the split, known before any is read and so with unreadable ones; `UserError` if there is no such split."""

    @abstractmethod
    def load(self, split: Split) -> Images:
        """The images of a split, in an order that is the same in every run.

        May download, decode or draw (with a progress bar past two seconds). Raises `UserError` for a split that does not exist or
        for files that cannot be read.
        """
