"""Labels in the forms that people have, as class numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sngan.data.images import MOST_CLASSES
from sngan.errors import UserError


@dataclass(frozen=True)
class Classes:
    """The values that labels may have; the place of a value is its class number."""

    values: tuple[int | str, ...]

    def numbers(self, labels: np.ndarray[Any, Any], where: str) -> Tensor:
        """int64 [N] of labels as `plain` gives them; `UserError` for a value that is no class."""
        place = {value: number for number, value in enumerate(self.values)}
        unknown = next((value for value in labels.tolist() if value not in place), None)
        if unknown is not None:
            raise UserError(f"{where} {unknown} is no class of the training images, whose labels are {self.shown}")
        return torch.tensor([place[value] for value in labels.tolist()], dtype=torch.int64)

    @property
    def shown(self) -> str:
        """The first and the last value."""
        return f"{self.values[0]}…{self.values[-1]}" if len(self.values) > 1 else str(self.values[0])

    @property
    def said(self) -> str:
        """How many there are, and how their values are numbered where these are others."""
        if self.values == tuple(range(len(self.values))):
            return f"{len(self.values)} classes"
        return f"labels {self.shown} numbered 0…{len(self.values) - 1}"


def plain(labels: np.ndarray[Any, Any], n: int, where: str) -> tuple[np.ndarray[Any, Any], int | None]:
    """The labels of n images as whole numbers or text [N], and the number of classes where the form says it (one-hot rows do).

    Given are whole numbers of any type, text, a column [N, 1] of these, or one-hot rows [N, K]. Raises `UserError` that begins with `where`.
    """
    shape, given = list(labels.shape), labels
    if shape == [n, 1]:
        labels = labels[:, 0]
    one_hot = labels.ndim == 2 and len(labels) == n and labels.dtype.kind in "buif"
    if one_hot and ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all():
        return labels.argmax(1), shape[1]
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    whole = labels.dtype.kind in "bui" or (labels.dtype.kind == "f" and bool((labels == np.rint(labels)).all()))
    if labels.shape != (n,) or not (whole or labels.dtype.kind == "U"):
        raise UserError(
            f"{where} is {given.dtype} {shape}; labels of {n} images are whole numbers or text [{n}], or one-hot rows [{n}, K]"
        )
    if labels.dtype.kind == "U":
        try:
            return np.array([str(label) for label in labels], dtype=object), None
        except (SystemError, ValueError):  # what NumPy makes of numbers that are no characters
            raise UserError(f"{where} is damaged: it is to hold text, and some of it is none") from None
    least, most = labels.min(), labels.max()
    if least < 0:
        raise UserError(f"{where} has the label {least:g}; labels are class numbers, from 0 on")
    if most >= MOST_CLASSES:
        raise UserError(f"{where} has the label {most:g}; labels are class numbers, less than {MOST_CLASSES}")
    return labels.astype(np.int64), None


def classes_of(labels: np.ndarray[Any, Any], n_classes: int | None, *, renumber: bool) -> Classes:
    """The classes of labels as `plain` gives them: the values that there are, in natural order.

    Without `renumber` whole numbers are class numbers as they are: 0, 1, … up to the largest.
    """
    if n_classes is None and (renumber or labels.dtype.kind == "O"):
        return Classes(tuple(sorted(set(labels.tolist()), key=natural)))
    return Classes(tuple(range(n_classes or int(labels.max()) + 1)))


def natural(value: int | str) -> tuple[list[int | str], str]:
    """A key for sorting: numbers inside text count as numbers, so that 2 comes before 10."""
    text = str(value)
    parts = re.split(r"(\d+)", text)  # text and digits in turn
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text
