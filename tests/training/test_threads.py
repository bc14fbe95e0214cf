"""Several threads give the same bits each time: what a resumed run rests on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sngan
from sngan.layers.lookup import ClassEmbedding

THREADS = 4


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_a_class_adds_up_its_gradients_in_the_same_order(n_classes: int) -> None:
    embedding = ClassEmbedding(n_classes, 4096)  # large enough for threads to share it
    y, gradient = torch.arange(64) % n_classes, torch.randn(64, 4096)
    found = [torch.autograd.grad(embedding(y), embedding.weight, gradient)[0] for _ in range(50)]
    assert all(torch.equal(found[0], each) for each in found[1:])


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=shapes_conditional", "steps=6"],
        ["experiment=shapes_conditional", "steps=6", "precision=bf16"],
        ["experiment=cifar10_resnet_conditional", "data=shapes", "batch=8", "g_batch=8", "d_steps=1", "steps=2"],
    ],
    ids=["cnn", "cnn-bf16", "resnet"],
)
def test_a_run_ends_with_the_same_bits(words: list[str], tmp_path: Path) -> None:
    quiet = [
        "engine=eager",
        "device=cpu",
        "data.n_train=256",
        "data.n_test=16",
        "protocol=none",
        "evaluate_every=0",
        "sample_every=0",
        "ema.recalibrate=2",
    ]
    for name in ("a", "b"):
        sngan.train(*words, *quiet, f"run_dir={tmp_path / name}")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a/checkpoints").rglob("*.safetensors"))
    assert files
    for file in files:
        a, b = (load_file(tmp_path / name / file) for name in ("a", "b"))
        assert all(torch.equal(a[key], b[key]) for key in a | b), file
