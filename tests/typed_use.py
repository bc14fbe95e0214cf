"""A user's code with types, which `mypy --strict` checks (pyproject.toml) and test_run.py runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import torch
from torch import Tensor, nn

import sngan


def use(path: str | Path) -> Tensor:
    """Every kind of use of a finished run, and what has which type."""
    run = sngan.Run(path)
    assert_type(run.config, sngan.Config)
    assert_type(run.scores, dict[str, dict[str, float]])
    assert_type(run.checkpoint.spec, sngan.ImageSpec)
    G = sngan.load_generator(run.path, weights="raw")
    z = torch.zeros(2, G.z_dim)
    x: Tensor = G(z)
    D: nn.Module = sngan.load_discriminator(run.checkpoint)
    logits: Tensor = D(x)
    assert logits.shape == (2,)
    record: dict[str, Any] = run.inspect(n=0, plot="none")
    assert record["step"] == run.step
    images: Tensor = run.sample(3, seed=1, label=None, truncation=0.5)
    return images


def train(images: Tensor, labels: list[int]) -> sngan.Run:
    """Training, by keys and by a config that is edited."""
    data = sngan.OwnImages(images, labels, value_range=(-1, 1))
    config: sngan.Config = sngan.compose(["loss=bce"])
    sngan.train(config.model_copy(update={"seed": 1}))
    return sngan.train("steps=10", loss="hinge", data=data)
