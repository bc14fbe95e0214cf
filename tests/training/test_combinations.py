from __future__ import annotations

import logging
from pathlib import Path

import pytest

from conftest import composed
from sngan import UserError, train
from sngan.training.combinations import check_combination

NONE = "discriminator.normalization=none"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["weight_clip=0.01"], "weight_clip=0.01 with discriminator.normalization=spectral: .*clipping them constrains nothing"),
        (["weight_clip=0.01", "discriminator.normalization=weight"], "weight_clip=0.01 with .*normalization=weight"),
        (["regularizer=spectral_regularization"], "singular values need no penalty"),
        (["regularizer=gradient_penalty", "discriminator.normalization=batch"], "each image's own gradient, which batch statistics mix"),
        (["regularizer=r1", "discriminator.normalization=batch"], "use another norm"),
        (["regularizer=r1_r2", "discriminator.normalization=batch"], "use another norm"),
        (["loss=relativistic_pair", "g_batch=64"], "d_steps \\* batch = 32; use g_batch=32 or less"),
        (["loss=relativistic_average", "accumulate=2"], "the mean of a whole batch, which no micro-batch has; .* loss=relativistic_pair"),
        ([NONE, "discriminator.power_iterations=2"], "discriminator.power_iterations=2 does nothing with .*=none; .* of spectral norm"),
        (["discriminator.normalization=weight", "discriminator.iterate_per=forward"], "iterate_per=forward does nothing"),
        (["discriminator.normalization=batch", "discriminator.scale=learned"], "scale=learned does nothing .* of spectral or weight norm"),
        (["discriminator.normalization=layer", "discriminator.exclude=[linear]"], r"exclude=\['linear'\] does nothing"),
        (["accumulate=2", "discriminator.iterate_per=forward"], "accumulate=2 with discriminator.iterate_per=forward: each micro-batch"),
        (["accumulate=2", "generator.normalization=spectral", "generator.iterate_per=forward"], "generator.iterate_per=forward"),
        (["optimizer.decay=none", "optimizer.decay_from=5"], "decay_from=5 does nothing with optimizer.decay=none"),
        (["discriminator.labels=concat"], "labels=concat does nothing with conditional=false"),
        (["generator.scale=2.0"], "generator.scale=2.0 does nothing with generator.normalization=none"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_the_reason(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        train(composed(*overrides, "device=cpu"))
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "spectral norm alone is known to train poorly; .*scale=learned with regularizer=gradient_penalty"),
        (["discriminator.normalization=weight"], "weight norm alone is known to train poorly"),
        (["discriminator.scale=learned"], "scale=learned alone: nothing bounds the slope"),
        ([NONE], "normalization=none alone: nothing bounds the slope of D"),
        (["discriminator.normalization=batch", "regularizer=orthonormal"], "nothing bounds"),
    ],
)
def test_wasserstein_without_what_it_needs_warns(overrides: list[str], words: str) -> None:
    warnings = check_combination(composed("loss=wasserstein", *overrides))
    assert len(warnings) == 1
    assert "\n" not in warnings[0]
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(warnings[0])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["loss=bce"],
        ["loss=wasserstein", "regularizer=gradient_penalty", NONE],
        ["loss=wasserstein", "regularizer=gradient_penalty"],
        ["loss=wasserstein", "regularizer=r1"],
        ["loss=wasserstein", "weight_clip=0.01", NONE],
        ["loss=bce", "regularizer=orthonormal", NONE],
        ["regularizer=orthonormal"],
        ["weight_clip=0.01", "discriminator.normalization=batch"],
        ["regularizer=gradient_penalty", "discriminator.scale=learned", "loss=wasserstein"],
    ],
)
def test_published_combinations_pass_in_silence(overrides: list[str]) -> None:
    assert check_combination(composed(*overrides)) == []


def test_a_run_warns_once(tiny: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(tiny("loss=wasserstein", "protocol=none", "run_dir=run", "steps=2"))
    assert [r.message for r in caplog.records if "wasserstein" in r.message] == check_combination(tiny("loss=wasserstein"))
