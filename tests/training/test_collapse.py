from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sngan import Config, train
from sngan.data.images import TensorImages
from sngan.state import TrainState
from sngan.training import engine
from sngan.training.collapse import CollapseWatch, diversity

REAL = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ALIKE = REAL[:1] // 2 + REAL // 20


def test_diversity_is_the_deviation_over_images_and_not_over_pixels() -> None:
    assert diversity(REAL[:1].expand(9, -1, -1, -1)) == 0.0
    images = torch.stack([torch.full((1, 2, 2), value, dtype=torch.uint8) for value in (10, 14)])
    assert diversity(images) == pytest.approx(8**0.5)


def test_two_sets_of_samples_in_succession_that_hardly_differ_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch(TensorImages(REAL))
    told = []
    for step, samples in enumerate([ALIKE, ALIKE, REAL, ALIKE, ALIKE, ALIKE, REAL]):
        caplog.clear()
        watch(step, samples)
        told.append(bool(caplog.records))
    assert told == [False, False, False, False, True, False, False], "step 0 is untrained, and once may pass"


def test_a_run_whose_generator_collapses_says_so(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play = engine.train_step

    def collapsing(state: TrainState, *args: object) -> dict[str, torch.Tensor]:
        stats = play(state, *args)
        for p in state.G_ema.parameters():
            p.data.zero_()
        return stats

    train(tiny("run_dir=healthy", "sample_every=1", "protocol=none"))
    assert "collapsed" not in caplog.text
    monkeypatch.setattr(engine, "train_step", collapsing)
    train(tiny("run_dir=run", "sample_every=1", "protocol=none"))
    assert caplog.text.count("the generator may have collapsed") == 1
    assert "step 2: the samples hardly differ (0.0 grey levels, real images " in caplog.text
