"""Images of one's own in a NumPy archive."""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sngan.data.images import MOST_CLASSES, Images, ImageSpec, Source, Split, TensorImages
from sngan.errors import UserError, nearest
from sngan.files import said
from sngan.processes import memory
from sngan.registry import register

RECOGNISED = {
    "train_images": ("train_images", "images"),
    "train_labels": ("train_labels", "labels"),
    "test_images": ("test_images",),
    "test_labels": ("test_labels",),
}
"""The names that an option of null looks for, in this order."""


FAULTS = (
    OSError, EOFError, ValueError, RuntimeError, MemoryError, OverflowError, TokenError, SyntaxError, TypeError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
"""What zipfile and NumPy raise on bytes that they do not expect."""

DENSEST = 1100
"""The most bytes that one of a compressed file can stand for: 1032 by deflate."""

MOST_BYTES = 2**36
"""The most bytes of an array where the size of the memory is not known."""


@register("data", "npz")
class Npz(Source):
    """Arrays of an `.npz` file: images uint8 [N, H, W, C] or [N, H, W] in 0..255, square, C = 1 or 3; labels [N], integers from 0.

    Each option names an array; null takes what `RECOGNISED` lists, if it is there. Constructing reads the headers and the labels,
    but no pixels. Python objects are never unpickled: a stranger's file cannot run code.
    """

    def __init__(
        self, *, path: Path, train_images: str | None, train_labels: str | None, test_images: str | None, test_labels: str | None
    ):
        self._archive = _Archive(path.expanduser())
        self.name = path.stem
        given = {"train_images": train_images, "train_labels": train_labels, "test_images": test_images, "test_labels": test_labels}
        self._keys = {option: _choose(option, key, self._archive) for option, key in given.items()}
        if self._keys["train_images"] is None:
            raise UserError(
                f"{self._archive} has no array train_images or images; name one with data.train_images=…; "
                f"{nearest('train_images', self._archive.keys)}"
            )
        _, *shape = self._image_shape("train")
        labels = self._labels("train")
        self.spec = ImageSpec(resolution=shape[0], channels=shape[2], n_classes=0 if labels is None else int(labels.max()) + 1)
        if self._keys["test_images"] is not None:
            self._check_test(shape)

    def count(self, split: Split) -> int:
        return self._image_shape(split)[0]

    def load(self, split: Split) -> Images:
        key = self._key(split)
        pixels = torch.from_numpy(self._archive.read(key)).view(self._image_shape(split))  # [N, H, W, C]
        labels = self._labels(split) if self.spec.n_classes else None
        return TensorImages(pixels.permute(0, 3, 1, 2).contiguous(), labels)

    def _key(self, split: Split) -> str:
        key = self._keys[f"{split}_images"]
        if key is None:
            raise UserError(
                f"{self._archive} has no test split (no array test_images); "
                "name one with data.test_images=…, or take protocol.reference=train"
            )
        return key

    def _image_shape(self, split: Split) -> tuple[int, ...]:
        """[N, H, W, C] of the split's images, from the header alone."""
        key = self._key(split)
        shape, dtype = self._archive.header(key)
        full = shape if len(shape) == 4 else (*shape, 1)
        if dtype != np.uint8 or len(full) != 4 or full[3] not in (1, 3) or full[1] != full[2] or 0 in full:
            raise UserError(
                f"{self._archive}: array {key} is {dtype} {list(shape)}; "
                "images must be uint8 [N, H, W, C] or [N, H, W], square, with C = 1 or 3"
            )
        return full

    def _labels(self, split: Split) -> torch.Tensor | None:
        """The split's labels, int64 [N]; None where there are none."""
        key = self._keys[f"{split}_labels"]
        if key is None:
            return None
        shape, dtype = self._archive.header(key)
        n = self._image_shape(split)[0]
        if dtype.kind not in "iu" or shape != (n,):
            raise UserError(f"{self._archive}: array {key} is {dtype} {list(shape)}; labels of {n} images must be integers [{n}]")
        labels = torch.from_numpy(self._archive.read(key).astype(np.int64))
        if labels.min() < 0:
            raise UserError(f"{self._archive}: array {key} has the label {labels.min()}; labels are class numbers, from 0 on")
        if labels.max() >= MOST_CLASSES:
            raise UserError(
                f"{self._archive}: array {key} has the label {labels.max()}; labels are class numbers, less than {MOST_CLASSES}"
            )
        return labels

    def _check_test(self, shape: Sequence[int]) -> None:
        _, *test_shape = self._image_shape("test")
        if test_shape != shape:
            raise UserError(f"{self._archive}: test images are {test_shape}, train images are {shape}; they must be of one size")
        labels = self._labels("test")
        if labels is not None and self.spec.n_classes and labels.max() >= self.spec.n_classes:
            raise UserError(
                f"{self._archive}: test label {labels.max()} is no class of the training images, whose largest label is {self.spec.n_classes - 1}"
            )


class _Archive:
    """The arrays in an `.npz` file, each read when it is asked for. A file that cannot be read is a `UserError`."""

    def __init__(self, path: Path):
        self._path = path
        if not path.is_file():
            raise UserError(f"{self}: no such file; give an .npz file with uint8 images [N, H, W, C]")
        with self._open() as archive:
            self.keys = sorted(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))

    def __str__(self) -> str:
        return f"data.path={self._path}"

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of an array, without its values."""
        with self._open() as archive, archive.open(f"{key}.npy") as member:
            first = np.lib.format.read_magic(member) == (1, 0)
            # later versions differ in the length of the header; version 3 is for structured arrays
            shape, _, dtype = (np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0)(member)
        return shape, dtype

    def read(self, key: str) -> np.ndarray[Any, Any]:
        """An array; a progress bar shows past two seconds."""
        shape, dtype = self.header(key)
        with self._open() as archive, archive.open(f"{key}.npy") as member:
            packed, needed = archive.getinfo(f"{key}.npy"), math.prod(shape) * dtype.itemsize
            if not needed <= packed.file_size <= packed.compress_size * DENSEST:
                raise ValueError(f"array {key} is shorter than it says")
            if needed > (memory() or MOST_BYTES):
                raise UserError(
                    f"{self}: array {key} takes {needed / 1e9:.1f} GB, more than this machine has; give a folder of pictures"
                )
            with tqdm.wrapattr(member, "read", total=packed.file_size, desc=f"reading {key}", delay=2, disable=None) as watched:
                return np.lib.format.read_array(watched, allow_pickle=False)

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                yield archive
        except FAULTS as error:
            raise UserError(f"{self} cannot be read as an .npz file ({said(error)}); is it whole? numpy.savez writes one") from None


def _choose(option: str, key: str | None, archive: _Archive) -> str | None:
    """The array that the option means; None where nothing is named and nothing recognised."""
    if key is None:
        return next((name for name in RECOGNISED[option] if name in archive.keys), None)
    if key not in archive.keys:
        raise UserError(f"data.{option}={key}: no such array in {archive}; {nearest(key, archive.keys)}")
    return key
