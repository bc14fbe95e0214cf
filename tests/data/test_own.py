"""Images given from Python: every form that they may have is one set of uint8 images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from sngan.data.own import OwnImages, own
from sngan.errors import UserError

N, SIDE = 6, 8
PIXELS = np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)
FIRST = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
LABELS = [2, 0, 1, 2, 0, 1]


class Items(Dataset[Any]):
    def __init__(self, items: list[Any]):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


FORMS = {
    "array": lambda: OwnImages(PIXELS),
    "array, channels first": lambda: OwnImages(PIXELS.transpose(0, 3, 1, 2)),
    "tensor": lambda: OwnImages(FIRST),
    "tensor, channels last": lambda: OwnImages(torch.from_numpy(PIXELS)),
    "float in [0, 1]": lambda: OwnImages(FIRST / 255, value_range=(0, 1)),
    "float in [0, 1], not stated": lambda: OwnImages(FIRST / 255),
    "float16 in [-1, 1], not stated": lambda: OwnImages((PIXELS / 127.5 - 1).astype(np.float16)),
    "int64 in 0..255": lambda: OwnImages(PIXELS.astype(np.int64)),
    "float64 in [-1, 1]": lambda: OwnImages(PIXELS / 127.5 - 1, value_range=(-1, 1)),
    "data set of PIL images": lambda: OwnImages(Items([Image.fromarray(x) for x in PIXELS])),
    "data set of dicts": lambda: OwnImages(Items([{"image": Image.fromarray(x), "text": "more"} for x in PIXELS])),
    "data set of arrays": lambda: OwnImages(Items(list(PIXELS))),
    "data set of float tensors": lambda: OwnImages(Items(list(FIRST / 255)), value_range=(0, 1)),
    "TensorDataset": lambda: OwnImages(TensorDataset(FIRST)),
    "list": lambda: OwnImages(list(PIXELS)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_images(form: str) -> None:
    images = FORMS[form]()
    assert images.spec.__dict__ == {"resolution": SIDE, "channels": 3, "n_classes": 0}
    assert torch.equal(images.load("train").pixels, FIRST)
    assert images.sha256 == OwnImages(PIXELS).sha256


@pytest.mark.parametrize(
    "images",
    [
        lambda: OwnImages(PIXELS, LABELS),
        lambda: OwnImages(FIRST, torch.tensor(LABELS)),
        lambda: OwnImages(TensorDataset(FIRST, torch.tensor(LABELS))),
        lambda: OwnImages(PIXELS, np.array(LABELS)[:, None]),
        lambda: OwnImages(PIXELS, np.eye(3)[LABELS]),
        lambda: OwnImages(PIXELS, ["abc"[label] for label in LABELS]),
    ],
    ids=["list", "tensor", "data set", "column", "one-hot", "text"],
)
def test_labels_are_classes_and_part_of_the_content(images: Any) -> None:
    found = images()
    assert found.spec.n_classes == 3
    assert found.load("train").labels.tolist() == LABELS
    assert found.sha256 == OwnImages(PIXELS, LABELS).sha256
    assert len({found.sha256, OwnImages(PIXELS).sha256, OwnImages(PIXELS, LABELS[::-1]).sha256}) == 3


def test_grey_pictures_stay_grey_and_one_among_coloured_ones_becomes_coloured() -> None:
    grey = Image.new("L", (SIDE, SIDE), 7)
    assert OwnImages([grey, grey]).spec.channels == 1
    assert OwnImages(PIXELS[..., 0]).spec.channels == 1
    mixed = OwnImages([Image.new("RGB", (SIDE, SIDE)), grey]).load("train").pixels
    assert mixed[1].unique().tolist() == [7]


@pytest.mark.parametrize("shape", [(8, 12, 3), (8, 12, 4), (8, 12)])
def test_images_need_not_be_square_nor_rgb(shape: tuple[int, ...]) -> None:
    spec = OwnImages(np.zeros((2, *shape), np.uint8)).spec
    assert spec.shape == ((*shape, 1)[2], 8, 12)


def test_what_becomes_of_an_array_later_changes_nothing() -> None:
    mine = FIRST.clone()
    images = OwnImages(mine)
    mine.zero_()
    assert torch.equal(images.load("train").pixels, FIRST)


def test_test_images_are_a_split_of_the_same_content() -> None:
    both = OwnImages(PIXELS, LABELS, test=PIXELS[:2], test_labels=LABELS[:2])
    assert (both.count("train"), both.count("test")) == (N, 2)
    assert both.sha256 != OwnImages(PIXELS, LABELS).sha256
    with pytest.raises(UserError, match="no test split"):
        OwnImages(PIXELS).load("test")


def test_a_config_finds_what_this_process_was_given() -> None:
    images = OwnImages(PIXELS)
    assert own(sha256=images.sha256) is images
    with pytest.raises(UserError, match=r"\(sha256 f00…\) were given from Python and are not here"):
        own(sha256="f00")


BAD: dict[str, tuple[Any, str]] = {
    "floats without a range": (lambda: OwnImages(PIXELS / 2), r"values from 0 to 127\.5, .* as value_range=\[0,255\]"),
    "floats of a data set without a range": (lambda: OwnImages(list(PIXELS / 255)), r"value_range=\(0, 1\)"),
    "beyond the range": (lambda: OwnImages(PIXELS.astype(float), value_range=(0, 1)), "has values from 0 to 255, beyond value_range"),
    "NaN": (lambda: OwnImages(np.full((2, 8, 8), np.nan), value_range=(0, 1)), "beyond value_range"),
    "a range of nothing": (lambda: OwnImages(PIXELS, value_range=(1, 1)), r"value_range=\(1, 1\)"),
    "text": (lambda: OwnImages(np.array(["a"])), "images are uint8"),
    "five channels": (lambda: OwnImages(np.zeros((2, 8, 8, 5), np.uint8)), r"\[2, 8, 8, 5\].* C = 1, 3 or 4"),
    "none": (lambda: OwnImages(PIXELS[:0]), r"shape \[0, 8, 8, 3\]"),
    "an empty data set": (lambda: OwnImages([]), "0 images"),
    "sizes": (lambda: OwnImages([PIXELS[0], PIXELS[1, :4, :4]]), r"data\[1\] is \[3, 4, 4\], data\[0\] is \[3, 8, 8\]"),
    "a dict without an image": (lambda: OwnImages([{"x": PIXELS[0], "y": 1}]), r"data\[0\] is a dict of x, y; name the image in it image"),
    "a dict of both": (lambda: OwnImages([{"image": PIXELS[0], "img": PIXELS[0], "label": 1}]), r"data\[0\] has 3 parts"),
    "three parts": (lambda: OwnImages([(PIXELS[0], 1, 2)]), r"data\[0\] has 3 parts"),
    "some labels": (lambda: OwnImages([(PIXELS[0], 1), PIXELS[1]]), "2 images and 1 labels"),
    "a label that is no class": (lambda: OwnImages([(PIXELS[0], 0.5)]), "whole numbers or text"),
    "a label below 0": (lambda: OwnImages(PIXELS, [-1] * N), "label -1; labels are class numbers, from 0"),
    "too few labels": (lambda: OwnImages(PIXELS, [0]), "labels of 6 images"),
    "labels twice": (lambda: OwnImages([(PIXELS[0], 1)], labels=[1]), "beside a data set"),
    "a stream": (lambda: OwnImages(iter(PIXELS)), "__len__ and __getitem__"),
    "another size of test images": (lambda: OwnImages(PIXELS, test=PIXELS[:, :4, :4]), "must be of one size"),
    "a test class of its own": (lambda: OwnImages(PIXELS, LABELS, test=PIXELS, test_labels=[3] * N), "test label 3 is no class"),
    "test labels alone": (lambda: OwnImages(PIXELS, test_labels=[1]), "without test"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_told_in_two_lines(kind: str) -> None:
    make, said = BAD[kind]
    with pytest.raises(UserError, match=said) as told:
        make()
    assert len(str(told.value).splitlines()) <= 2
