from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sngan.cache import _write
from sngan.config import Component
from sngan.data import shapes
from sngan.data.images import TensorImages
from sngan.data.shapes import CHUNK, DRAWS, KINDS, Shapes, _draw
from sngan.errors import UserError
from sngan.processes import cache_folder
from sngan.registry import build


def draw(n: int = 200, *, seed: int = 0, split: str = "train") -> TensorImages:
    return Shapes(n_train=n, n_test=n, seed=seed, max_angle=360).load(split)


def test_an_image_does_not_depend_on_how_many_there_are() -> None:
    few, many = draw(CHUNK + 7), draw(2 * CHUNK + 3)
    assert torch.equal(few.pixels, many.pixels[: len(few)])
    assert torch.equal(few.labels, many.labels[: len(few)])


def test_the_same_seed_gives_the_same_images_drawn_or_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn, kept = draw(50), draw(50)
    monkeypatch.setenv("SNGAN_CACHE", str(tmp_path))
    again = draw(50)
    assert torch.equal(drawn.pixels, kept.pixels)
    assert torch.equal(drawn.pixels, again.pixels)
    assert torch.equal(drawn.labels, kept.labels)


def test_images_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = draw(50)
    monkeypatch.setattr(shapes, "_draw", None)
    assert torch.equal(draw(50).pixels, first.pixels)


def test_what_is_kept_of_another_code_or_with_other_pixels_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    first = draw(50)
    (kept,) = cache_folder().iterdir()
    _write({"pixels": first.pixels[:10]}, kept)
    assert torch.equal(draw(50).pixels, first.pixels)
    drawn_by = shapes._drawn_by()
    monkeypatch.setattr(shapes, "_drawn_by", lambda: {**drawn_by, "code": "another"})
    draw(50)
    assert len(list(cache_folder().iterdir())) == 2


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "test"}])
def test_another_seed_or_split_shares_no_image(other: dict) -> None:
    one, two = (images.pixels.flatten(1).float() for images in (draw(100), draw(100, **other)))
    assert torch.cdist(one, two).min() > 100  # of 0..255 levels, over 3072 of them


def test_a_shape_is_turned_by_its_part_of_the_largest_angle() -> None:
    y, r = torch.arange(10), torch.rand(10, DRAWS - 1)
    straight, halved = (r.index_put((torch.arange(10), torch.tensor(3)), r[:, 3] * part) for part in (0.0, 0.5))
    assert torch.equal(_draw(y, r, max_angle=30), _draw(y, halved, max_angle=60))
    assert torch.equal(_draw(y, r, max_angle=0), _draw(y, straight, max_angle=360))
    assert not torch.equal(_draw(y, r, max_angle=360), _draw(y, r, max_angle=30))


def test_upright_shapes_are_kept_apart_from_others() -> None:
    turned, upright = draw(50), Shapes(n_train=50, n_test=50, seed=0, max_angle=30).load("train")
    assert torch.equal(turned.labels, upright.labels)
    assert not torch.equal(turned.pixels, upright.pixels)


def test_images_and_labels_are_as_the_spec_says() -> None:
    source = Shapes(n_train=300, n_test=20, seed=0, max_angle=360)
    images = source.load("train")
    assert images.pixels.shape == (300, source.spec.channels, source.spec.resolution, source.spec.resolution)
    assert sorted(images.labels.unique().tolist()) == list(range(source.spec.n_classes))
    assert len(source.load("test")) == 20


def test_every_shape_is_whole() -> None:
    pixels = draw().pixels
    ground = pixels[:, :, :1, :1]
    for border in (pixels[:, :, [0, -1], :], pixels[:, :, :, [0, -1]]):
        assert (border == ground).all()


def test_every_shape_is_brighter_than_its_ground() -> None:
    brightest = draw().pixels.amax(1).flatten(1)  # [N, H * W], the largest of the three colours
    assert (brightest.amax(1) >= 0.8 * 255 - 1).all()
    assert (brightest[:, 0] <= 0.3 * 255 + 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_lies_in_the_unit_disc_and_nearly_fills_it(kind: str) -> None:
    x, y = torch.meshgrid(torch.linspace(-1.5, 1.5, 301), torch.linspace(-1.5, 1.5, 301), indexing="xy")
    radii = torch.hypot(x, y)[KINDS[kind](x, y)]
    assert 0.85 < radii.max() < 1.001


def test_kinds_differ() -> None:
    x, y = torch.meshgrid(torch.linspace(-1, 1, 101), torch.linspace(-1, 1, 101), indexing="xy")
    covers = torch.stack([inside(x, y).flatten().float() for inside in KINDS.values()])
    common, either = covers @ covers.T, (covers[:, None] + covers[None]).clamp(max=1).sum(2)
    assert (common / either).fill_diagonal_(0).max() < 0.95


@pytest.mark.parametrize("fault", [{"n_train": 0}, {"seed": -1}, {"n_test": 1.5}, {"max_angle": 361}])
def test_an_impossible_option_is_refused_by_name(fault: dict) -> None:
    options = {"n_train": 10, "n_test": 10, "seed": 0, "max_angle": 360, **fault}
    with pytest.raises(UserError, match=rf"data\.{next(iter(fault))}="):
        build("data", Component(name="shapes", **options))
