"""The content of images, as a hash."""

from __future__ import annotations

import subprocess
import sys

import torch

from sngan.data.images import TensorImages
from sngan.data.shapes import Shapes


def pixels() -> torch.Tensor:
    return torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)


def test_equal_pixels_have_equal_hashes_whatever_their_layout_and_labels() -> None:
    plain = TensorImages(pixels())
    strided = TensorImages(pixels().to(memory_format=torch.channels_last), torch.ones(2, dtype=torch.int64))
    assert plain.sha256() == strided.sha256()
    assert len(plain.sha256()) == 64


def test_the_hash_changes_with_a_single_level_with_the_order_and_with_the_shape() -> None:
    changed = pixels()
    changed[1, 2, 3, 3] += 1
    others = [changed, pixels().flip(0), pixels()[:1], pixels().view(2, 3, 2, 8)]
    assert len({TensorImages(x).sha256() for x in [pixels(), *others]}) == 5


def test_the_hash_is_the_same_in_another_process() -> None:
    program = (
        "from sngan.data.shapes import Shapes; print(Shapes(n_train=5, n_test=1, seed=0, max_angle=360).load('train').sha256())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == Shapes(n_train=5, n_test=1, seed=0, max_angle=360).load("train").sha256()
