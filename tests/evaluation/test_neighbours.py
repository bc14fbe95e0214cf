"""Nearest training images: copies are seen, and the baseline is what real images have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from conftest import TINY, composed
from sngan import Config, UserError
from sngan.data.shapes import Shapes
from sngan.evaluation.neighbours import nearest, neighbours, scorer_of

CPU = torch.device("cpu")


def of_file(name: str) -> Config:
    """The config of a tiny run on the images of a file."""
    return composed(*(word for word in TINY if not word.startswith("data.")), "data=npz", f"data.path={name}")


def test_nearest_is_what_all_distances_say() -> None:
    queries, keys = torch.randn(7, 5), torch.randn(40, 5)
    index, distance = nearest(queries, keys, k=3)
    every = torch.cdist(queries.double(), keys.double()).square()
    expected = every.topk(3, largest=False)
    assert torch.equal(index, expected.indices)
    torch.testing.assert_close(distance, expected.values.float())


def test_a_copy_is_at_distance_zero_however_long_the_features_are() -> None:
    keys = torch.randn(300, 16) + 1000.0  # where a matrix product alone is off by more than the distances
    index, distance = nearest(keys[:20].clone(), keys, k=1)
    assert index[:, 0].tolist() == list(range(20))
    assert not distance.any()


def test_an_image_is_not_its_own_neighbour_where_it_is_left_out() -> None:
    keys = torch.randn(30, 4)
    index, distance = nearest(keys[:10], keys, k=1, skip=range(10))
    assert all(int(j) != i for i, j in enumerate(index[:, 0]))
    assert (distance > 0).all()


def test_few_training_images_have_few_neighbours() -> None:
    index, _ = nearest(torch.randn(3, 4), torch.randn(2, 4), k=2)
    assert index.shape == (3, 2)


def test_memorised_images_are_nearer_than_every_held_out_one(tiny: Callable[..., Config]) -> None:
    config = tiny()
    train = torch.stack([Shapes(n_train=64, n_test=16, seed=0, max_angle=360).load("train")[i][0] for i in range(10)])
    found = neighbours(scorer_of(config, Shapes(n_train=64, n_test=16, seed=0, max_angle=360).spec, CPU), train, n_shown=2)
    assert found.samples == [0.0] * 10
    assert (found.n_train, len(found.baseline), found.held_out) == (64, 16, "16 test images")
    assert min(found.baseline) > 0
    assert [look.matches[0].index for look in found.first] == [0, 1]
    assert torch.equal(found.first[1].matches[0].image, train[1])
    assert [look.held_out_as_near for look in found.first] == [0.0, 0.0]


def test_images_that_are_like_nothing_are_farther_than_the_held_out(tiny: Callable[..., Config]) -> None:
    noise = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    found = neighbours(scorer_of(tiny(), Shapes(n_train=64, n_test=16, seed=0, max_angle=360).spec, CPU), noise, n_shown=3)
    assert min(found.samples) > max(found.baseline)
    assert found.nearest[0].matches[0].distance == min(found.samples)
    distances = [look.matches[0].distance for look in found.nearest]
    assert distances == sorted(distances) == found.samples[:3]
    assert [match.distance for match in found.first[0].matches] == sorted(match.distance for match in found.first[0].matches)


def test_without_a_test_split_training_images_are_left_out_in_turn() -> None:
    np.savez("mine.npz", images=np.random.default_rng(0).integers(256, size=(12, 32, 32, 3), dtype=np.uint8))
    config = of_file("mine.npz")
    noise = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    found = neighbours(scorer_of(config, Shapes(n_train=2, n_test=2, seed=0, max_angle=360).spec, CPU), noise, n_shown=1)
    assert found.held_out == "12 training images, each left out in turn"
    assert len(found.baseline) == 12
    assert min(found.baseline) > 0


def test_images_of_another_size_are_refused() -> None:
    np.savez("small.npz", images=np.zeros((8, 16, 16, 3), np.uint8))
    config = of_file("small.npz")
    with pytest.raises(UserError, match="the checkpoint makes 3 x 32"):
        neighbours(
            scorer_of(config, Shapes(n_train=2, n_test=2, seed=0, max_angle=360).spec, CPU),
            torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
            n_shown=1,
        )
