"""Parameter counts as published, shapes, ranges and initial weights."""

from __future__ import annotations

import math

import pytest
import torch

from sngan.config import Component
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.generators.generator import Generator
from sngan.layers.spectral_norm import SpectralNorm
from sngan.registry import build

CNN_WIDTHS = [512, 256, 128, 64]


def resnet(resolution: int, n_classes: int = 0, **options: object) -> Generator:
    return build(
        "generator", Component(name="resnet", **{"z_dim": 128, "widths": None, **options}), ImageSpec(resolution, 3, n_classes)
    )


def cnn(resolution: int, n_classes: int = 0, **options: object) -> Generator:
    options = {"z_dim": 128, "widths": CNN_WIDTHS, "first_norm": "none", **options}
    return build("generator", Component(name="cnn", **options), ImageSpec(resolution, 3, n_classes))


def count(G: Generator) -> int:
    return sum(p.numel() for p in G.parameters())


@pytest.mark.parametrize(
    ("resolution", "first_norm", "n"),
    [
        (32, "none", 3_812_355),
        (32, "channel", 3_813_379),
        (32, "feature", 3_828_739),
        (48, "none", 5_133_315),
        (48, "channel", 5_134_339),
        (48, "feature", 5_170_179),
    ],
)
def test_cnn_has_the_published_number_of_parameters(resolution: int, first_norm: str, n: int) -> None:
    assert count(cnn(resolution, first_norm=first_norm)) == n


@pytest.mark.parametrize(
    ("resolution", "n_classes", "n"),
    [
        (32, 0, 4_276_739),
        (32, 10, 4_304_387),
        (48, 0, 4_878_083),
        (64, 0, 12_220_675),
        (128, 0, 32_150_787),
        (128, 1000, 41_996_931),
    ],
)
def test_resnet_has_the_published_number_of_parameters(resolution: int, n_classes: int, n: int) -> None:
    with torch.device("meta"):
        assert count(resnet(resolution, n_classes)) == n


@pytest.mark.parametrize("resolution", [32, 48, 64, 128])
def test_resnet_makes_images_of_every_published_size(resolution: int) -> None:
    widths = {32: [8] * 4, 48: [8] * 4, 64: [8] * 5, 128: [8] * 6}[resolution]
    x = resnet(resolution, widths=widths)(torch.randn(2, 128))
    assert x.shape == (2, 3, resolution, resolution)
    assert x.abs().max() <= 1


@pytest.mark.parametrize("first_norm", ["none", "channel", "feature"])
@pytest.mark.parametrize("resolution", [32, 48])
def test_cnn_makes_images_of_every_published_size(resolution: int, first_norm: str) -> None:
    x = cnn(resolution, widths=[16, 8, 8, 8], first_norm=first_norm)(torch.randn(2, 128))
    assert x.shape == (2, 3, resolution, resolution)
    assert x.abs().max() <= 1


def test_labels_change_what_a_conditional_resnet_makes() -> None:
    G = resnet(32, 3, widths=[8, 8, 8, 8])
    torch.nn.init.normal_(G.blocks[0].norm1.beta)
    z = torch.randn(4, 128)
    assert not torch.equal(G(z, torch.tensor([0, 0, 0, 0])), G(z, torch.tensor([1, 1, 1, 1])))


def test_resnet_starts_at_glorot_with_gain_sqrt_2_for_3x3_and_1_for_the_rest() -> None:
    G = resnet(32)

    def bound(fan: int, gain: float) -> float:
        return gain * math.sqrt(6 / fan)

    block = G.blocks[0]
    assert block.conv1.weight.abs().max().item() == pytest.approx(bound(2 * 256 * 9, math.sqrt(2)), rel=1e-3)
    assert block.shortcut.weight.abs().max().item() == pytest.approx(bound(2 * 256, 1), rel=1e-3)
    assert G.conv.weight.abs().max().item() == pytest.approx(bound((256 + 3) * 9, 1), rel=2e-2)
    assert G.linear.weight.abs().max().item() == pytest.approx(bound(128 + 4096, 1), rel=1e-3)
    assert not any(p.any() for name, p in G.named_parameters() if name.endswith("bias") and "norm" not in name)


def test_cnn_starts_at_a_normal_of_deviation_002() -> None:
    G = cnn(32)
    assert G.linear.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert G.deconvs[0].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert not any(p.any() for name, p in G.named_parameters() if name.endswith("bias"))


def test_conditional_scales_start_at_one_and_shifts_at_zero() -> None:
    norm = resnet(32, 3, widths=[8, 8, 8, 8]).blocks[0].norm1
    assert torch.equal(norm.gamma, torch.ones(3, 8))
    assert torch.equal(norm.beta, torch.zeros(3, 8))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: resnet(96), "published for 32, 48, 64, 128 px, not 96"),
        (lambda: resnet(36, widths=[8, 8, 8, 8]), "multiple of 8, not 36"),
        (lambda: cnn(32, n_classes=10), "generator=resnet"),
        (lambda: resnet(32, z_dim=0), r"generator\.z_dim=0: input should be greater than 0"),
        (lambda: resnet(32, depth=3), r"unknown key generator\.depth"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_way_out(make: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


def test_scales_and_shifts_of_classes_are_no_weight_matrices() -> None:
    """Spectral norm in a conditional G is of its convolutions and its linear layer."""
    G = SpectralNorm(build("generator", Component(name="resnet", z_dim=4, widths=[8, 8, 8]), ImageSpec(16, 3, 5)))
    y = torch.tensor([0, 4])
    assert G(torch.randn(2, 4), y).shape == (2, 3, 16, 16)
    assert not any("norm" in name for name in G.normalize(update=False))
