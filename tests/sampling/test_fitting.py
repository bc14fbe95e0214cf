"""A batch of large images is smaller, so that it takes no more memory than one of small images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conftest import alone, little_memory
from sngan import build
from sngan.config import Component
from sngan.data.images import ImageSpec
from sngan.errors import UserError, naming_memory
from sngan.generators.generator import Generator
from sngan.sampling.fitting import BATCH, MOST_NUMBERS, batch_of
from sngan.sampling.sampling import at_once, latents, samples


def generator(resolution: int, *widths: int, n_classes: int = 0) -> Generator:
    network: Generator = build(
        "generator",
        Component(name="resnet", widths=widths, z_dim=128, upsampling="nearest", attention=None),
        ImageSpec(resolution, 3, n_classes),
    )
    return network.eval()


def test_the_papers_networks_make_250_images_at_once_and_the_larger_fewer() -> None:
    assert at_once(generator(32, 256, 256, 256, 256, n_classes=10)) == BATCH == 250
    assert at_once(generator(32, 256, 256, 256, 512)) == 125
    assert at_once(generator(128, 64, 64, 64, 64, 64, 64)) == 62


def test_a_network_of_one_image_beyond_all_bounds_still_makes_one() -> None:
    assert batch_of(nn.Flatten(), torch.zeros(1, MOST_NUMBERS + 1)) == 1


@alone
def test_large_images_take_no_more_memory_than_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sngan.sampling.fitting.MOST_NUMBERS", MOST_NUMBERS // 64)
    G = generator(256, 4, 4, 4, 4, 4, 4)
    z = latents(100, G.z_dim, seed=0)
    with little_memory(150_000_000):
        assert [len(x) for x in samples(G, z[:7], None, rounding="nearest")] == [3, 3, 1]
        with pytest.raises(UserError, match=r"^too much$"), naming_memory("too much"):
            next(samples(G, z, None, rounding="nearest", batch=100))
