"""Images of one's own in NumPy's files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from sngan.config import Resolution
from sngan.data.arrays import Layout, Range, channels_first, layout_of, range_of, size_in, to_uint8
from sngan.data.decoding import Channels, Fit, Form, converted
from sngan.data.images import Images, ImageSpec, Source, Split, TensorImages
from sngan.data.labels import Classes, classes_of, plain
from sngan.data.numpy_files import SINGLE, NumpyFile
from sngan.errors import UserError, nearest
from sngan.launch import is_first
from sngan.registry import register

log = logging.getLogger(__name__)

RECOGNISED = {
    "train_images": ("train_images", "images", "x_train", "X_train", "x", "X", "data", SINGLE),
    "train_labels": ("train_labels", "labels", "y_train", "Y_train", "y", "Y", "label", "targets"),
    "test_images": ("test_images", "x_test", "X_test"),
    "test_labels": ("test_labels", "y_test", "Y_test"),
}
"""The names that an option of null looks for, in this order."""


@register("data", "npz")
class Npz(Source):
    """Arrays of an `.npz` file, or the array of a `.npy` file: images [N, H, W, C], [N, C, H, W] or [N, H, W], C = 1, 3 or 4; labels [N].

    Each of the first four options names an array; null takes what `RECOGNISED` lists, if it is there, or the only array that may hold
    images. Numbers are scaled from `range`, black and white, to 256 levels; `layout` says where the channels are. Of both, null is what
    the array leaves no doubt about, else a `UserError` names the key. With `resolution` images of another size come to it as `fit` says.
    Labels are whole numbers, text or one-hot rows; with `renumber` their values are the classes 0, 1, … in natural order.
    Constructing reads the headers and the labels, but no pixels. Loading says in a line what was found.
    """

    def __init__(
        self,
        *,
        path: Path,
        train_images: str | None,
        train_labels: str | None,
        test_images: str | None,
        test_labels: str | None,
        layout: Layout | None,
        range: Range | None,
        channels: Channels,
        resolution: Resolution | None,
        fit: Fit,
        renumber: bool,
    ):
        self._file = NumpyFile(path.expanduser())
        self.name = path.stem
        self._layout, self._range, self._renumber = layout, range, renumber
        given = {"train_images": train_images, "train_labels": train_labels, "test_images": test_images, "test_labels": test_labels}
        self._keys = {option: self._choose(option, key) for option, key in given.items()}
        if range is not None and not range[0] < range[1]:
            raise UserError(f"data.range=[{range[0]:g},{range[1]:g}]: give the values of black and white, such as [0,1] or [-1,1]")
        self._found: Range | None = None
        _, stored, height, width = self._shape("train")
        self._form = Form(resolution or (height, width), stored if channels == "auto" else channels, fit)
        labels = self._labels("train")
        self._classes = labels and labels[1]
        self.spec = ImageSpec(
            self._form.resolution, self._form.channels, len(self._classes.values) if self._classes is not None else 0
        )
        if self._keys["test_images"] is not None:
            self._check_test((stored, height, width), channels=channels == "auto", size=resolution is None)

    @classmethod
    def at(cls, path: Path) -> Self:
        """The file at a path, of which nothing is stated."""
        arrays: dict[str, str | None] = dict.fromkeys(RECOGNISED)
        return cls(path=path, **arrays, layout=None, range=None, channels="auto", resolution=None, fit="crop", renumber=True)

    def count(self, split: Split) -> int:
        return self._shape(split)[0]

    def load(self, split: Split) -> Images:
        key = self._key(split)
        values = self._file.read(key)
        layout = layout_of(values.shape, self._layout, self._named(key))
        black_and_white = self._black_and_white(split, values)
        pixels = to_uint8(channels_first(values, layout), black_and_white, f"{self._file}: array {key}")
        del values
        pixels = converted(pixels, self._form, key)
        labels = self._labels(split) if self.spec.n_classes else None
        if is_first():
            said = f"{self._file}: {len(pixels)} {split} images of {self.spec.channels} x {self.spec.size} px from array {key}"
            log.info(f"{said}, {self._described(key, layout, black_and_white)}{f'; {labels[1].said}' if labels else ''}")
        return TensorImages(pixels, labels[0] if labels else None)

    def _black_and_white(self, split: Split, values: np.ndarray[Any, Any]) -> Range:
        """As stated, or as the training images leave no doubt about."""
        if self._range is not None:
            return self._range
        if self._found is None:
            key = self._key("train")
            training = values if split == "train" else self._file.read(key)
            self._found = range_of(training, f"{self._file}: array {key}")
        return self._found

    def _described(self, key: str, layout: Layout, black_and_white: Range) -> str:
        _, dtype = self._file.header(key)
        low, high = black_and_white
        axes = {"nhwc": "channels last", "nchw": "channels first", "nhw": "grey"}[layout]
        return f"{dtype} in [{low:g}, {high:g}], {axes}"

    def _key(self, split: Split) -> str:
        key = self._keys[f"{split}_images"]
        if key is None:
            raise UserError(
                f"{self._file} has no test split (no array test_images or x_test); "
                "name one with data.test_images=…, or take protocol.reference=train"
            )
        return key

    def _named(self, key: str) -> str:
        """An array, its type and shape, for messages."""
        shape, dtype = self._file.header(key)
        return f"{self._file}: array {key} is {dtype} {list(shape)}"

    def _shape(self, split: Split) -> tuple[int, int, int, int]:
        """(N, C, H, W) of the split's images as they are stored, from the header alone."""
        key = self._key(split)
        shape, dtype = self._file.header(key)
        if dtype.kind == "O":
            raise UserError(
                f"{self._named(key)}, Python objects, which are never unpickled; give numbers in one array, or picture files: data=image_folder"
            )
        if dtype.kind not in "buif":
            raise UserError(f"{self._named(key)}; images are numbers")
        return shape[0], *size_in(shape, layout_of(shape, self._layout, self._named(key)))

    def _labels(self, split: Split) -> tuple[torch.Tensor, Classes] | None:
        """The split's labels, int64 [N], and the classes; None where there are none."""
        key = self._keys[f"{split}_labels"]
        if key is None:
            return None
        where = f"{self._file}: array {key}"
        _, dtype = self._file.header(key)
        if dtype.kind not in "buifUS":
            raise UserError(f"{self._named(key)}; labels are whole numbers or text (labels.astype(str) writes text)")
        labels, n_classes = plain(self._file.read(key), self._shape(split)[0], where)
        classes = classes_of(labels, n_classes, renumber=self._renumber) if split == "train" else self._classes
        return None if classes is None else (classes.numbers(labels, f"{self._file}: {split} label"), classes)

    def _check_test(self, train: tuple[int, int, int], *, channels: bool, size: bool) -> None:
        """Raises `UserError` if test images have other classes, or differ in what is not converted."""
        _, *test = self._shape("test")
        if (channels and test[0] != train[0]) or (size and tuple(test[1:]) != train[1:]):
            raise UserError(
                f"{self._file}: test images are {test}, train images are {list(train)} [C, H, W]; make them so, or give data.resolution=… "
                "or data.channels=… for both"
            )
        self._labels("test")

    def _choose(self, option: str, key: str | None) -> str | None:
        """The array that the option means; None where nothing is named and nothing recognised."""
        keys = self._file.keys
        if key is not None:
            if key not in keys:
                raise UserError(f"data.{option}={key}: no such array in {self._file}; {nearest(key, keys)}")
            return key
        found = next((name for name in RECOGNISED[option] if name in keys), None)
        if found is None and option == "train_images":
            pictures = [name for name in keys if len(self._file.header(name)[0]) in (3, 4)]
            if len(pictures) != 1:
                raise UserError(
                    f"{self._file} has no array {', '.join(RECOGNISED[option][:3])}, …; name one with data.train_images=…; {nearest(option, keys)}"
                )
            found = pictures[0]
        return found
