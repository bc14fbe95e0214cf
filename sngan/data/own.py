"""Images of one's own that are given from Python: arrays, or a data set of torch."""

from __future__ import annotations

import hashlib
import math
import operator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sngan.data.decoding import to_rgb
from sngan.data.images import MOST_CLASSES, ImageSpec, Source, Split, TensorImages
from sngan.errors import UserError
from sngan.processes import memory
from sngan.registry import register

Range = tuple[float, float]


class OwnImages(Source):
    """Images given from Python, for `sngan.train(data=…)`; the test split is for scores.

    `images` is an array or tensor [N, H, W, C], [N, C, H, W] or [N, H, W], or a map-style data set, such as a
    `torch.utils.data.Dataset`, whose items are images or (image, label): PIL images, arrays [H, W], [H, W, C] or tensors [C, H, W].
    Images are square, of one size, with 1 or 3 channels, and uint8 in 0..255 or floating-point numbers in `value_range`, which become the
    nearest of 256 levels. Labels are class numbers from 0 on; those of an array are given as `labels` [N].

    All images are read once and kept in memory as uint8, so that a random transform is applied once. Raises `UserError` for what does not fit.
    """

    name = "own"

    def __init__(
        self,
        images: Any,
        labels: Any = None,
        *,
        value_range: Range | None = None,
        test: Any = None,
        test_labels: Any = None,
    ):
        if value_range is not None and not (len(value_range) == 2 and -math.inf < value_range[0] < value_range[1] < math.inf):
            raise UserError(f"value_range={value_range}: give the values of black and white, such as (0, 1) or (-1, 1)")
        if test is None and test_labels is not None:
            raise UserError("test_labels are given without test; give the test images, too")
        self._splits: dict[Split, tuple[TensorImages, bool]] = {"train": _read(images, labels, value_range, "data")}
        if test is not None:
            self._splits["test"] = _read(test, test_labels, value_range, "test")
        train, labelled = self._splits["train"]
        self.spec = _spec(train, labelled)
        for held_out, _ in list(self._splits.values())[1:]:
            if held_out.pixels.shape[1:] != train.pixels.shape[1:]:
                raise UserError(f"test images are {_size(held_out)}, the others {_size(train)}; they must be of one size")
            if self.spec.n_classes and held_out.labels.max() >= self.spec.n_classes:
                raise UserError(
                    f"test label {held_out.labels.max()} is no class of the other images, 0 to {self.spec.n_classes - 1}"
                )
        digest = hashlib.sha256()
        for split, (read, labelled) in self._splits.items():
            digest.update(f"{split} {read.sha256()} {labelled} ".encode() + read.labels.numpy().tobytes())
        self.sha256 = digest.hexdigest()
        _given[self.sha256] = self

    def count(self, split: Split) -> int:
        return len(self.load(split))

    def load(self, split: Split) -> TensorImages:
        if split not in self._splits:
            raise UserError(
                "the images given from Python have no test split; give OwnImages(…, test=…), or protocol.reference=train"
            )
        return self._splits[split][0]


_given: dict[str, OwnImages] = {}
"""What this process was given, by content: a config names it by its hash."""


@register("data", "own")
def own(*, sha256: str | None) -> OwnImages:
    """The images of this content that were given to this process."""
    if sha256 is None:
        raise UserError(
            "data=own is for images given from Python: sngan.train(data=images); on the command line give data=npz or data=image_folder"
        )
    if sha256 not in _given:
        raise UserError(
            f"data=own: the images of this run (sha256 {sha256[:16]}…) were given from Python and are not here; make "
            "sngan.OwnImages(…) of the same images first, or name another data set"
        )
    return _given[sha256]


def _read(images: Any, labels: Any, value_range: Range | None, key: str) -> tuple[TensorImages, bool]:
    """The images in memory, and whether they have labels."""
    if isinstance(images, np.ndarray | Tensor):
        pixels = _pixels(_channels_first(images, key), value_range, key)
        return TensorImages(pixels, None if labels is None else _labels(labels, len(pixels), key)), labels is not None
    if labels is not None:
        raise UserError(f"{key}: labels are given beside a data set; its items are to be (image, label)")
    if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")) or isinstance(images, str | bytes | dict):
        raise UserError(
            f"{key} is {type(images).__name__}; give an array of images, a data set with __len__ and __getitem__, "
            "or the name of a data set such as data='cifar10'"
        )
    return _read_dataset(images, value_range, key)


def _read_dataset(items: Any, value_range: Range | None, key: str) -> tuple[TensorImages, bool]:
    n = len(items)
    pixels, labels = torch.empty(0), []
    for i in tqdm(range(n), desc="reading images", unit="image", delay=2, disable=None):
        item, place = items[i], f"{key}[{i}]"
        image, *label = item if isinstance(item, tuple | list) else (item,)
        if len(label) > 1:
            raise UserError(f"{place} has {len(item)} parts; an item is to be an image, or (image, label)")
        read = _pixels(_channels_first(_array(image, place, channels=pixels.shape[1] if i else None), place), value_range, place)[0]
        if i == 0:
            if n * read.numel() > (memory() or math.inf):
                raise UserError(
                    f"{key}: {n} images of {read.numel()} bytes are more than this machine's memory; give data=image_folder"
                )
            pixels = torch.empty(n, *read.shape, dtype=torch.uint8)
        if read.shape != pixels.shape[1:]:
            raise UserError(f"{place} is {list(read.shape)}, {key}[0] is {list(pixels.shape[1:])} [C, H, W]; {ONE_SIZE}")
        pixels[i] = read
        labels += label
    if n == 0 or len(labels) not in (0, n):
        raise UserError(f"{key} has {n} images and {len(labels)} labels; give at least one image, and all labels or none")
    return TensorImages(pixels, _labels(labels, n, key) if labels else None), bool(labels)


ONE_SIZE = "images are squares of one size; torchvision.transforms.Resize and CenterCrop make them so"


def _array(image: Any, place: str, *, channels: int | None) -> np.ndarray[Any, Any] | Tensor:
    """An item's image as [1, …]; a PIL image is RGB unless it and those before it, of so many channels, are grey."""
    if isinstance(image, Image.Image):
        image = np.asarray(image if image.mode == "L" and channels in (None, 1) else to_rgb(image))
    if not isinstance(image, np.ndarray | Tensor):
        raise UserError(f"{place} is {type(image).__name__}; an image is a PIL image, an array or a tensor")
    return image[None]


def _channels_first(images: np.ndarray[Any, Any] | Tensor, key: str) -> Tensor:
    """A copy of [N, H, W], [N, H, W, C] or [N, C, H, W] as [N, C, H, W]; where both fit, C is last in arrays and first in tensors."""
    if isinstance(images, np.ndarray) and images.dtype.kind not in "uif":
        raise UserError(f"{key} is {images.dtype}; images are uint8 in 0..255, or floats in a value_range")
    shape = list(images.shape)
    found = images.detach().cpu().clone() if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    if len(shape) == 3:
        found = found[:, None]
    elif len(shape) == 4 and shape[3] in (1, 3) and not (shape[1] in (1, 3) and isinstance(images, Tensor)):
        found = found.permute(0, 3, 1, 2)
    if found.dim() != 4 or found.shape[1] not in (1, 3) or found.shape[2] != found.shape[3] or 0 in shape:
        raise UserError(f"{key} has the shape {shape}; give [N, H, W, C], [N, C, H, W] or [N, H, W] with C = 1 or 3; {ONE_SIZE}")
    return found.contiguous()


def _pixels(images: Tensor, value_range: Range | None, key: str) -> Tensor:
    """uint8 in 0..255."""
    if images.dtype == torch.uint8:
        return images
    if not images.dtype.is_floating_point:
        raise UserError(
            f"{key} is {str(images.dtype).removeprefix('torch.')}; images are uint8 in 0..255, or floats in a value_range"
        )
    if value_range is None:
        raise UserError(f"{key} holds floats; say which values are black and white: sngan.OwnImages(images, value_range=(0, 1))")
    low, high = value_range
    least, most = images.min().item(), images.max().item()
    if not (low <= least and most <= high):  # also for NaN
        raise UserError(
            f"{key} has values from {least:g} to {most:g}, beyond value_range=({low:g}, {high:g}); give the range that they have"
        )
    levels = [part.double().sub(low).mul(255 / (high - low)).round().to(torch.uint8) for part in images.split(1000)]
    return torch.cat(levels)


def _labels(labels: Any, n: int, key: str) -> Tensor:
    """int64 [N]."""
    try:
        found = torch.tensor([operator.index(y) for y in labels])
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = torch.empty(0)
    if found.shape != (n,) or not 0 <= int(found.min()) <= int(found.max()) < MOST_CLASSES:
        raise UserError(f"{key}: labels of {n} images are {n} whole numbers from 0 to {MOST_CLASSES - 1}")
    return found


def _spec(images: TensorImages, labelled: bool) -> ImageSpec:
    _, channels, resolution, _ = images.pixels.shape
    return ImageSpec(resolution, channels, int(images.labels.max()) + 1 if labelled else 0)


def _size(images: TensorImages) -> str:
    return " x ".join(map(str, images.pixels.shape[1:]))
