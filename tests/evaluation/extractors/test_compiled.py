"""An extractor is compiled where that is asked for, or saves time; what cannot be compiled unasked runs as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import needs_a_compiler
from sngan.config import Component
from sngan.data.npz import Npz
from sngan.evaluation.extractors import extractor as module
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.score import Scorer

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Means(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.float().mean((2, 3)), x.float().amax((2, 3)).sin()


def means(compile: bool | Literal["auto"]) -> Extractor:
    return Extractor(label="means", weights=None, sha256="f00", distance="fd", network=lambda path: Means(), compile=compile)


@needs_a_compiler
@pytest.mark.parametrize(
    ("compile", "n", "device", "expected"),
    [
        ("auto", module.WORTH_COMPILING, CPU, True),
        ("auto", module.WORTH_COMPILING - 1, CPU, False),
        ("auto", module.WORTH_COMPILING, GPU, False),
        (True, 1, GPU, True),
        (False, module.WORTH_COMPILING, CPU, False),
    ],
)
def test_auto_compiles_for_many_images_on_a_cpu(
    compile: bool | Literal["auto"], n: int, device: torch.device, expected: bool
) -> None:
    assert means(compile).compiles(n, device) is expected


def test_auto_does_not_compile_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not means("auto").compiles(module.WORTH_COMPILING, CPU)


BROKEN = """
import torch
from torch import nn
from sngan.evaluation.extractors.extractor import Extractor

class Means(nn.Module):
    def forward(self, x):
        return x.float().mean((2, 3)), x.float().amax((2, 3)).sin()

x = torch.randint(0, 256, (3, 3, 5, 7), dtype=torch.uint8)
auto, asked = (
    Extractor(label="means", weights=None, sha256="f00", distance="fd", network=lambda path: Means(), compile=c).load("cpu", compiled=True)
    for c in ("auto", True)
)
with torch.no_grad():
    for _ in range(2):
        assert all(map(torch.equal, auto(x), Means()(x)))
    try:
        asked(x)
    except RuntimeError:
        print("an error where it was asked for")
"""


def test_a_compiler_that_fails_costs_no_score_that_nobody_asked_to_compile() -> None:
    """In a process of its own, since torch remembers its compiler."""
    environment = os.environ | {"CXX": "false", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    done = subprocess.run([sys.executable, "-c", BROKEN], env=environment, capture_output=True, text=True)
    assert done.stdout == "an error where it was asked for\n", done.stderr
    assert done.stderr.count("the extractor is not compiled") == 1


@needs_a_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_scorer_compiles_for_many_images_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks of a quick score of a few images and of the full one are two; the features are alike."""
    monkeypatch.setattr(module, "WORTH_COMPILING", 12)
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", train_images=images)
    loaded: list[bool] = []
    load = Extractor.load

    def watched(self: Extractor, device: torch.device | str, *, compiled: bool = False) -> nn.Module:
        loaded.append(compiled)
        return load(self, device, compiled=compiled)

    monkeypatch.setattr(Extractor, "load", watched)
    scorer = Scorer(
        Component.model_validate({"name": "small_resnet", "weights": None}),
        Npz.at(tmp_path / "images.npz"),
        CPU,
        options={},
        workers=0,
    )
    scorer.extractor = replace(scorer.extractor, compile="auto")
    few, many, again = (scorer.features("train", n) for n in (11, 12, 11))
    assert loaded == [False, True]
    torch.testing.assert_close(many.features[:11], few.features)
    assert torch.equal(again.features, few.features)
