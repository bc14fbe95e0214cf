from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sngan.sampling.figures import GAP, Sheet, draw, near_square


def coloured(n: int, side: int = 8, channels: int = 3) -> Tensor:
    return torch.randint(0, 200, (n, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def pixels(sheet: Sheet) -> np.ndarray:
    return np.asarray(draw(sheet))


def test_every_pixel_of_every_image_is_shown_magnified_by_a_whole_factor() -> None:
    images = coloured(6)
    shown = pixels(Sheet(images, 3))
    zoom = (shown.shape[1] - GAP) // 3 // 8
    cell = 8 * zoom + GAP
    for i, image in enumerate(images):
        y, x = 2 * GAP + i // 3 * cell, GAP + i % 3 * cell
        seen = shown[y : y + 8 * zoom, x : x + 8 * zoom]
        expected = image.permute(1, 2, 0).numpy().repeat(zoom, 0).repeat(zoom, 1)
        assert (seen == expected).all()
    assert zoom == 8


def test_large_images_are_not_magnified() -> None:
    assert pixels(Sheet(coloured(4, side=256), 2)).shape == (2 * (256 + GAP) + 2 * GAP, 2 * (256 + GAP) + GAP, 3)


def test_the_size_depends_on_the_words_and_not_on_the_images() -> None:
    one, other = (draw(Sheet(coloured(3, 8) // divisor, 2, "step 3", heads=["a", "b"], sides=["c", "d"])) for divisor in (1, 2))
    assert one.size == other.size


def test_words_stand_beside_the_images_and_leave_them_whole() -> None:
    colour = torch.tensor([200, 10, 90], dtype=torch.uint8)
    images = colour[:, None, None].expand(4, 3, 8, 8)
    plain, worded = (pixels(sheet) for sheet in (Sheet(images, 2), Sheet(images, 2, "over", ("a", "b"), ("c", "d"), tuple("efgh"))))
    assert (plain == colour.numpy()).all(axis=2).sum() == (worded == colour.numpy()).all(axis=2).sum()
    assert (plain != 0).all()
    assert (worded == 0).any()  # ink


def test_images_grow_until_the_words_under_them_fit() -> None:
    images = coloured(200, side=8)
    word = "seed 1234567, class 9"
    narrow, wide = draw(Sheet(images, 100)), draw(Sheet(images, 100, under=[word] * 200))
    assert wide.width > 3 * narrow.width


def test_a_grey_image_is_shown_grey() -> None:
    shown = pixels(Sheet(coloured(1, channels=1), 1))
    assert (shown == shown[:, :, :1]).all()


def test_a_square_has_as_many_rows_as_columns_or_one_fewer() -> None:
    assert [near_square(n) for n in (1, 2, 3, 4, 5, 9, 10)] == [1, 2, 2, 2, 3, 3, 4]
