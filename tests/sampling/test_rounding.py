"""Real images come back from what training makes of them, so that a generator of exactly these scores as they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sngan import Config
from sngan.config import Component
from sngan.data.batches import to_float
from sngan.data.images import TensorImages
from sngan.data.npz import Npz
from sngan.evaluation.score import Scorer
from sngan.randomness import DEQUANTIZE, generator
from sngan.sampling.rounding import FORMULAS, quantize, resolved, rounding_for

LEVELS = torch.arange(256, dtype=torch.uint8)
CPU = torch.device("cpu")


def noise(seed: int) -> torch.Generator:
    return generator("cpu", seed, DEQUANTIZE)


@pytest.mark.parametrize("seed", range(4))
def test_dequantised_images_come_back_bit_for_bit(seed: int) -> None:
    levels = LEVELS.repeat(2**14)  # often enough for the ends of the noise's range, which come once in 2^18 values
    assert torch.equal(quantize(to_float(levels, noise(seed)), "inverse"), levels)


def test_the_ends_of_each_level_belong_to_it() -> None:
    first = LEVELS.float() / 128 - 1
    last = torch.nextafter(first + 1 / 128, torch.tensor(-2.0))
    assert torch.equal(quantize(first, "inverse"), LEVELS)
    assert torch.equal(quantize(last, "inverse"), LEVELS)


def test_images_as_they_are_come_back_bit_for_bit() -> None:
    x = to_float(LEVELS, None)
    assert torch.equal(quantize(x, "nearest"), LEVELS)
    for within in (-0.49, 0.49):
        assert torch.equal(quantize(x + within / 127.5, "nearest"), LEVELS)


def test_truncation_is_the_author_codes() -> None:
    x = torch.empty(100_000).uniform_(-1.1, 1.1)
    expected = np.asarray(np.clip(x.numpy() * 127.5 + 127.5, 0.0, 255.0), dtype=np.uint8)
    assert np.array_equal(quantize(x, "truncate").numpy(), expected)


@pytest.mark.parametrize(("rounding", "share"), [("nearest", 0.249), ("truncate", 0.498)])
def test_another_rounding_changes_dequantised_images(rounding: str, share: float) -> None:
    levels = LEVELS.repeat(1000)
    changed = quantize(to_float(levels, noise(0)), rounding).int() - levels.int()  # type: ignore[arg-type]
    assert changed.abs().max() == 1
    assert changed.ne(0).float().mean().item() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("rounding", FORMULAS)
def test_what_lies_outside_becomes_the_first_or_the_last_level(rounding: str) -> None:
    x = torch.tensor([-9.0, -1.5, -1.0, 1.0, 1.5, 9.0])
    assert quantize(x, rounding).tolist() == [0, 0, 0, 255, 255, 255]  # type: ignore[arg-type]


@pytest.mark.parametrize(("dequantize", "rounding"), [(True, "inverse"), (False, "nearest")])
def test_auto_undoes_the_scaling_of_the_runs_images(dequantize: bool, rounding: str, tiny: Callable[..., Config]) -> None:
    config = tiny(f"data.dequantize={str(dequantize).lower()}")
    assert config.protocol is not None
    assert rounding_for(config.data) == rounding
    assert resolved(config.protocol, config.data).rounding == rounding
    asked = config.protocol.model_copy(update={"rounding": "truncate"})
    assert resolved(asked, config.data) == asked


class Perfect(nn.Module):
    """A generator of real images as training sees them, one after the other, whatever the latents."""

    z_dim, n_classes = 4, 0

    def __init__(self, x_real: Tensor) -> None:
        super().__init__()
        self.x_real = nn.Parameter(x_real, requires_grad=False)
        self.shown = 0

    def forward(self, z: Tensor, y: None) -> Tensor:
        self.shown += len(z)
        return self.x_real[self.shown - len(z) : self.shown]


@pytest.mark.parametrize(("dequantize", "others"), [(True, ["nearest", "truncate"]), (False, [])])
def test_a_perfect_generator_scores_as_the_images_do(dequantize: bool, others: list[str], tiny: Callable[..., Config]) -> None:
    pixels = torch.randint(0, 256, (300, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    np.savez("images.npz", images=pixels.permute(0, 2, 3, 1).numpy())
    source = Npz.at(Path("images.npz"))
    config = tiny(f"data.dequantize={str(dequantize).lower()}", "protocol.n=300", "protocol.metrics=[fid]")
    images = source.load("train")
    assert isinstance(images, TensorImages)
    scorer = Scorer(Component.model_validate({"name": "small_resnet", "weights": None}), source, CPU, options={}, workers=0)

    def record(rounding: str) -> dict[str, object]:
        assert config.protocol is not None
        protocol = resolved(config.protocol.model_copy(update={"rounding": rounding}), config.data)
        G = Perfect(to_float(images.pixels, noise(0) if dequantize else None)).eval()
        return scorer.score(G, protocol)  # type: ignore[arg-type]

    distances = {rounding: next(iter(record(rounding)["scores"].values())) for rounding in ("auto", *FORMULAS)}
    mine = rounding_for(config.data)
    assert abs(distances["auto"]) < 1e-6
    assert distances["auto"] == distances[mine]
    assert all(distances[other] > 1e-5 for other in others)
    assert record("auto")["rounding"] == FORMULAS[mine]
