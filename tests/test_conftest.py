"""The tests' own short cuts give what the long way gives."""

from __future__ import annotations

import pytest

from conftest import TINY, composed
from sngan import UserError, compose


@pytest.mark.parametrize(
    "words",
    [
        TINY,
        [*TINY, "loss=bce", "loss.saturating=true", "seed=3", "run_dir=run"],
        [*TINY, "protocol=none", "optimizer.betas=[0.5,0.9]", "weight_clip=null", "quick.metrics=[fid]"],
        ["experiment=cifar10_resnet", "constraint=wgan_gp", "data=npz", "data.path='a b.npz'", "protocol@quick=small_quick"],
    ],
)
def test_a_config_composed_the_short_way_is_hydras(words: list[str]) -> None:
    assert composed(*words) == compose(words)


@pytest.mark.parametrize("word", ["loss=hing", "optimizer.lrr=1", "steps=many", "steps=1,2"])
def test_a_mistake_is_the_commands(word: str) -> None:
    with pytest.raises(UserError) as short:
        composed(*TINY, word)
    with pytest.raises(UserError) as long:
        compose([*TINY, word])
    assert str(short.value) == str(long.value)
