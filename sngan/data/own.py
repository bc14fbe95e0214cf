"""Images of one's own that are given from Python: arrays, or a data set of torch."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sngan.data.arrays import CHANNELS, Range, range_of, to_uint8
from sngan.data.decoding import in_mode
from sngan.data.images import ImageSpec, Source, Split, TensorImages
from sngan.data.labels import Classes, classes_of, plain
from sngan.errors import UserError
from sngan.processes import memory
from sngan.registry import register

Labels = tuple[np.ndarray[Any, Any], int | None]
"""As `labels.plain` gives them."""


class OwnImages(Source):
    """Images given from Python, for `sngan.train(data=…)`; the test split is for scores.

    `images` is an array or tensor [N, H, W, C], [N, C, H, W] or [N, H, W], or a map-style data set, such as a
    `torch.utils.data.Dataset`, whose items are images, (image, label) or, as those of Hugging Face, {"image": image, "label": label}: PIL images,
    arrays [H, W], [H, W, C] or tensors [C, H, W].
    Images are of one size, with 1, 3 or 4 channels, and uint8 in 0..255 or other numbers in `value_range`, which become the nearest of 256
    levels; an array that leaves no doubt about the range needs none. Labels are class numbers from 0 on, text, of which the sorted values
    are the classes, or one-hot rows; those of an array are given as `labels` [N].

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
        pixels, found = _read(images, labels, value_range, "data")
        classes = None if found is None else classes_of(*found, renumber=False)
        self._splits: dict[Split, TensorImages] = {"train": _numbered(pixels, found, classes, "label")}
        labelled = {"train": found is not None}
        if test is not None:
            pixels, found = _read(test, test_labels, value_range, "test")
            self._splits["test"] = _numbered(pixels, found, classes, "test label")
            labelled["test"] = found is not None
        train, *others = self._splits.values()
        for other in others:
            if other.pixels.shape[1:] != train.pixels.shape[1:]:
                raise UserError(f"test images are {_size(other)}, the others {_size(train)}; they must be of one size")
        _, channels, height, width = train.pixels.shape
        self.spec = ImageSpec((height, width), channels, len(classes.values) if classes else 0)
        digest = hashlib.sha256()
        for split, read in self._splits.items():
            digest.update(f"{split} {read.sha256()} {labelled[split]} ".encode() + read.labels.numpy().tobytes())
        self.sha256 = digest.hexdigest()
        _given[self.sha256] = self

    def count(self, split: Split) -> int:
        return len(self.load(split))

    def load(self, split: Split) -> TensorImages:
        if split not in self._splits:
            raise UserError(
                "the images given from Python have no test split; give OwnImages(…, test=…), or protocol.reference=train"
            )
        return self._splits[split]


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


def _read(images: Any, labels: Any, value_range: Range | None, key: str) -> tuple[Tensor, Labels | None]:
    """The images, uint8 [N, C, H, W], and their labels if they have any."""
    if isinstance(images, np.ndarray | Tensor):
        pixels = _pixels(_channels_first(images, key), value_range, key, whole=True)
        return pixels, None if labels is None else _labels(labels, len(pixels), key)
    if labels is not None:
        raise UserError(f"{key}: labels are given beside a data set; its items are to be (image, label)")
    if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")) or isinstance(images, str | bytes | dict):
        raise UserError(
            f"{key} is {type(images).__name__}; give an array of images, a data set with __len__ and __getitem__, "
            "or the name of a data set such as data='cifar10'"
        )
    return _read_dataset(images, value_range, key)


def _read_dataset(items: Any, value_range: Range | None, key: str) -> tuple[Tensor, Labels | None]:
    n = len(items)
    pixels, labels = torch.empty(0), []
    for i in tqdm(range(n), desc="reading images", unit="image", delay=2, disable=None):
        item, place = items[i], f"{key}[{i}]"
        if isinstance(item, dict):
            item = _of_dict(item, place)
        image, *label = item if isinstance(item, tuple | list) else (item,)
        if len(label) > 1:
            raise UserError(f"{place} has {len(item)} parts; an item is to be an image, or (image, label)")
        found = _channels_first(_array(image, place, channels=pixels.shape[1] if i else None), place)
        read = _pixels(found, value_range, place, whole=False)[0]
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
    return pixels, _labels(labels, n, key) if labels else None


IN_DICTS = (("image", "img"), ("label", "labels"))
"""The keys of an image, and of its label, in items that are dicts."""


def _of_dict(item: dict[Any, Any], place: str) -> list[Any]:
    """The image, and the label if there is one."""
    parts = [item[key] for keys in IN_DICTS for key in keys if key in item]
    if not any(key in item for key in IN_DICTS[0]):
        raise UserError(f"{place} is a dict of {', '.join(map(str, item))}; name the image in it image, and the label label")
    return parts


def _numbered(pixels: Tensor, labels: Labels | None, classes: Classes | None, what: str) -> TensorImages:
    return TensorImages(pixels, None if labels is None or classes is None else classes.numbers(labels[0], what))


ONE_SIZE = "images are of one size; torchvision.transforms.Resize and CenterCrop make them so"


def _array(image: Any, place: str, *, channels: int | None) -> np.ndarray[Any, Any] | Tensor:
    """An item's image as [1, …]; a PIL image is RGB unless it and those before it, of so many channels, are grey."""
    if isinstance(image, Image.Image):
        image = np.asarray(image if image.mode == "L" and channels in (None, 1) else in_mode(image, "RGB"))
    if not isinstance(image, np.ndarray | Tensor):
        raise UserError(f"{place} is {type(image).__name__}; an image is a PIL image, an array or a tensor")
    return image[None]


def _channels_first(images: np.ndarray[Any, Any] | Tensor, key: str) -> np.ndarray[Any, Any]:
    """[N, H, W], [N, H, W, C] or [N, C, H, W] as [N, C, H, W]; where both fit, C is last in arrays and first in tensors."""
    shape = list(images.shape)
    found = _numpy(images)
    if found.dtype.kind not in "buif":
        raise UserError(f"{key} is {found.dtype}; images are uint8 in 0..255, or numbers in a value_range")
    if len(shape) == 3:
        found = found[:, None]
    elif len(shape) == 4 and shape[3] in CHANNELS and not (shape[1] in CHANNELS and isinstance(images, Tensor)):
        found = found.transpose(0, 3, 1, 2)
    if found.ndim != 4 or found.shape[1] not in CHANNELS or 0 in shape:
        raise UserError(f"{key} has the shape {shape}; give [N, H, W, C], [N, C, H, W] or [N, H, W] with C = 1, 3 or 4")
    return found


def _numpy(values: np.ndarray[Any, Any] | Tensor) -> np.ndarray[Any, Any]:
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    found: np.ndarray[Any, Any] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return found


def _pixels(images: np.ndarray[Any, Any], value_range: Range | None, key: str, *, whole: bool) -> Tensor:
    """uint8 in 0..255; a range that is not given is looked for in a `whole` array, and not in one image."""
    if value_range is None and images.dtype == np.uint8:
        value_range = (0, 255)
    if value_range is None and not whole:
        raise UserError(
            f"{key} is {images.dtype}; say which values are black and white: sngan.OwnImages(images, value_range=(0, 1))"
        )
    return to_uint8(images, value_range or range_of(images, key, key="value_range"), key, key="value_range")


def _labels(labels: Any, n: int, key: str) -> Labels:
    return plain(_numpy(labels) if isinstance(labels, Tensor) else np.asarray(labels), n, f"{key}: array of labels")


def _size(images: TensorImages) -> str:
    return " x ".join(map(str, images.pixels.shape[1:]))
