"""The warning of a generator that copies them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from sngan import Config, build
from sngan.data.shapes import Shapes
from sngan.evaluation import copies
from sngan.evaluation.copies import warn_of_copies
from sngan.evaluation.score import Scorer

CPU = torch.device("cpu")


@pytest.fixture
def scorer(tiny: Callable[..., Config]) -> Scorer:
    """Of 300 training images and 100 held-out ones."""
    config = tiny("data.n_train=300", "data.n_test=100")
    options = config.data.described
    return Scorer(config.extractor, build("data", config.data), CPU, options=options, workers=0)


def shapes(split: str, n: int, seed: int) -> torch.Tensor:
    images = Shapes(n_train=300, n_test=100, seed=seed, max_angle=360).load(split)  # type: ignore[arg-type]
    return torch.stack([images[i][0] for i in range(n)])


def test_copies_are_warned_of(scorer: Scorer, caplog: pytest.LogCaptureFixture) -> None:
    copied = torch.cat([shapes("train", 15, seed=0), shapes("train", 35, seed=5)])
    with caplog.at_level(logging.WARNING):
        assert warn_of_copies(scorer, copied) == pytest.approx(0.3, abs=0.08)
    assert "of 50 samples are nearer to a training image than 1 % of 100 test images are: the generator copies" in caplog.text


def test_new_images_of_the_same_kind_and_noise_are_no_copies(scorer: Scorer, caplog: pytest.LogCaptureFixture) -> None:
    for samples in (shapes("train", 100, seed=5), torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)):
        part = warn_of_copies(scorer, samples)
        assert part is not None
        assert part <= 0.06
    assert not caplog.records


def test_many_training_images_are_not_looked_at(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_TRAIN", 299)
    assert warn_of_copies(scorer, shapes("train", 20, seed=0)) is None
