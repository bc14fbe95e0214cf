"""What is registered in Python alone can be chosen like what has a YAML file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conftest import TINY
from sngan import UserError, compose, registry
from sngan.__main__ import main

PLUGIN = """
from typing import Annotated

import torch
from pydantic import Field
from sngan import ImageSpec, register
from sngan.data.images import Source, TensorImages
from sngan.losses.loss import Loss


@register("data", "grey_levels")
class GreyLevels(Source):
    name, spec = "grey_levels", ImageSpec(32, 3, 0)

    def __init__(self, *, n: Annotated[int, Field(ge=2)] = 64, level: int):
        self.n, self.level = n, level

    def count(self, split):
        return self.n

    def load(self, split):
        return TensorImages(torch.full((self.n, 3, 32, 32), self.level, dtype=torch.uint8))


@register("loss", "mean")
def mean(*, margin: float = 1.0) -> Loss:
    return Loss(discriminator=lambda real, fake: (fake - real + margin).mean(), generator=lambda fake: -fake.mean())


@register("generator", "small")
def small(spec: ImageSpec, *, z_dim: int = 4):
    raise AssertionError
"""


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_builders", {group: dict(builders) for group, builders in registry._builders.items()})
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    Path("my_parts.py").write_text(PLUGIN)


def test_a_signature_is_what_a_file_would_be() -> None:
    config = compose(["plugins=[my_parts]", "data=grey_levels", "data.level=3", "loss=mean", "generator=small"])
    assert config.data.options == {"n": 64, "level": 3}
    assert config.data.resident_mb > 0
    assert (config.loss.options, config.generator.options) == ({"margin": 1.0}, {"z_dim": 4})
    assert (config.generator.normalization, config.generator.power_iterations) == ("none", 1)


def test_the_command_line_chooses_it_and_changes_its_options() -> None:
    words = ["plugins=[my_parts]", "data=grey_levels", "data.level=9", "loss=mean", "loss.margin=0.5"]
    tiny = [word for word in TINY if not word.startswith("data.")]
    assert main(["train", *tiny, "steps=1", "protocol=none", "run_dir=run", *words]) == 0
    assert '"level": 9' in Path("run/config.json").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=grey_levels"], "data.level is needed"),
        (["data=grey_levels", "data.level=1", "data.n=1"], "data.n=1: input should be greater than or equal to 2"),
        (["data=grey_levls"], "did you mean grey_levels?"),
        (["loss=mean", "loss.margn=1"], "unknown key loss.margn; did you mean loss.margin?"),
        (["plugins=[nowhere]"], "plugins=nowhere: ModuleNotFoundError"),
    ],
)
def test_a_mistake_is_answered_as_with_a_file(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as told:
        compose(["plugins=[my_parts]", *words])
    assert said in str(told.value)


def test_a_file_of_ones_own_is_preferred_to_the_signature(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine/loss").mkdir(parents=True)
    Path("mine/loss/mean.yaml").write_text("name: mean\nmargin: 7.0\n")
    assert main(["train", "--config-dir", "mine", "plugins=[my_parts]", "loss=mean", "--cfg", "job"]) == 0
    assert "margin: 7.0" in capsys.readouterr().out
