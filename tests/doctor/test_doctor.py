"""Runs that are made sick are told, by the check that is for it; what cannot be measured has its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY
from sngan import Run, UserError, compose
from sngan.evaluation.neighbours import neighbours, scorer_of
from sngan.training.loop import train

QUIET = ["protocol=none", "evaluate_every=0", "sample_every=0", "save_every=0", "run_dir=run"]
FREE = ["discriminator.normalization=none", "loss=wasserstein"]


def trained(*overrides: str) -> Run:
    """A tiny run of these overrides, in the place of those of the tiny run for the same parts."""
    groups = {word.partition("=")[0] for word in overrides}
    train(compose([*(w for w in TINY if w.partition("=")[0].partition(".")[0] not in groups), *QUIET, *overrides]))
    return Run("run")


def by_name(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in record["findings"]}


def test_a_D_without_a_constraint_has_logits_that_run_away() -> None:
    found = by_name(trained(*FREE, "optimizer.lr=0.03", "steps=16").doctor(n=64, features=False))
    assert (found["logits"]["verdict"], found["sigma_lag"]["verdict"]) == ("wrong", "not measured")
    assert "discriminator.normalization=spectral" in found["logits"]["why"]


def test_a_learning_rate_a_hundred_times_as_high_is_told() -> None:
    record = trained("optimizer.lr=0.1", "steps=16").doctor(n=64, features=False)
    assert record["verdict"] in ("look", "wrong")


def test_a_generator_that_chases_a_D_that_stands_still_has_collapsed() -> None:
    found = by_name(trained("optimizer.g.lr=0.03", "optimizer.d.lr=1e-6", "ema.decay=0", "steps=20").doctor(n=64))
    assert found["feature_diversity"]["verdict"] == found["lead"]["verdict"] == "wrong"
    assert "collapsed" in found["feature_diversity"]["why"]


def test_a_D_that_takes_held_out_images_for_samples_overfits() -> None:
    """Here they are samples, so that the number is known: it is 1."""
    images = np.random.default_rng(0).integers(256, size=(64, 32, 32, 3), dtype=np.uint8)
    np.savez("mine.npz", images=images)
    run = trained("data=npz", "data.path=mine.npz", "steps=12")
    samples = run.generator(weights="raw").sample(64, seed=7).permute(0, 2, 3, 1).numpy()
    np.savez("seen.npz", images=images, test_images=samples)
    found = by_name(run.doctor("data=npz", "data.path=seen.npz", features=False))
    assert found["overfitting"]["value"] == pytest.approx(1, abs=0.1)
    assert found["overfitting"]["verdict"] == "wrong"
    assert "lecam" in found["overfitting"]["why"]


def test_samples_that_are_training_images_are_copies() -> None:
    """What a generator that repeats its training images would show."""
    from sngan.doctor.checks import finding
    from sngan.doctor.measures import of_features

    config = compose(TINY)
    scorer = scorer_of(config, Run(trained().path).checkpoint.spec, torch.device("cpu"))
    train_images = torch.stack([scorer.images("train")[i][0] for i in range(20)])
    numbers = of_features(neighbours(scorer, train_images, n_shown=0))
    assert numbers["copies"] == 1
    assert finding("copies", numbers["copies"])["verdict"] == "wrong"
    assert numbers["feature_diversity"] == pytest.approx(1)


def test_a_run_that_diverged_before_it_was_saved_is_examined_by_its_log() -> None:
    with pytest.raises(UserError, match="NaN or infinite"):
        trained(*FREE, "optimizer.lr=1e30", "steps=30")
    record = Run("run").doctor()
    found = by_name(record)
    assert (record["verdict"], found["not_finite"]["value"], found["not_finite"]["verdict"]) == ("wrong", 1, "wrong")
    assert "holds no complete checkpoint" in found["gradient"]["why"]
    assert record["step"] < 30


def test_a_checkpoint_without_its_run_and_data_without_a_test_split_leave_gaps_with_their_reasons() -> None:
    np.savez("mine.npz", images=np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8))
    run = trained("data=npz", "data.path=mine.npz", "conditional=false")
    found = by_name(run.doctor(n=512, features=False))
    assert found["overfitting"]["why"].startswith("no held-out images: ")
    assert found["feature_diversity"]["why"] == "left out, as features=false asks for"
    assert found["gradient"]["value"] > 0
