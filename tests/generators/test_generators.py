"""Parameter counts as published, shapes, ranges and initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from sngan.config import Component
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.generators.generator import Generator
from sngan.generators.resnet import PUBLISHED_WIDTHS, derived_widths
from sngan.layers.conditional import ConditionalBatchNorm2d
from sngan.layers.linear_maps import matrix
from sngan.layers.normalized import Normalized
from sngan.layers.spectral_norm import SpectralNorm
from sngan.registry import build

CNN_WIDTHS = [512, 256, 128, 64]


def resnet(resolution: int | tuple[int, int], n_classes: int = 0, **options: object) -> Generator:
    return build(
        "generator",
        Component(name="resnet", **{"z_dim": 128, "widths": None, "upsampling": "nearest", "attention": None, **options}),
        ImageSpec(resolution, 3, n_classes),
    )


def cnn(resolution: int | tuple[int, int], n_classes: int = 0, **options: object) -> Generator:
    options = {"z_dim": 128, "widths": CNN_WIDTHS, "first_norm": "none", **options}
    return build("generator", Component(name="cnn", **options), ImageSpec(resolution, 3, n_classes))


def biggan(n_classes: int = 3, **options: object) -> Generator:
    options = {"z_dim": 16, "widths": [8, 8, 8, 8], "shared_dim": 5, "attention": None, **options}
    return build("generator", Component(name="biggan", **options), ImageSpec(32, 3, n_classes))


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


@pytest.mark.parametrize("resolution", [16, 64, 128])
def test_the_cnn_makes_images_of_other_powers_of_two(resolution: int) -> None:
    G = cnn(resolution, widths=[16, 8, 8, 8])
    assert G.shape == (16, resolution // 8, resolution // 8), "M = resolution / 8, as at 32 and 48 px"
    assert G(torch.randn(2, 128)).shape == (2, 3, resolution, resolution)


@pytest.mark.parametrize(
    ("resolution", "widths"),
    [
        (16, [256, 128, 64]), (24, [256, 128, 64]), (28, [256, 128, 64]), (40, [512, 256, 128, 64]), (96, [1024, 512, 256, 128, 64]),
        (192, [1024, 1024, 512, 256, 128, 64]), (256, [1024, 1024, 1024, 512, 256, 128, 64]),
    ],
)  # fmt: skip
def test_resnets_of_other_sizes_follow_the_rule_of_the_published_ones(resolution: int, widths: list[int]) -> None:
    with torch.device("meta"):
        G = resnet(resolution)
    assert [G.shape[0], *(block.conv2.out_channels for block in G.blocks)] == widths
    assert 4 <= G.shape[1] <= 7


@pytest.mark.parametrize("resolution", [48, 64, 128])
def test_the_rule_gives_the_published_resnets(resolution: int) -> None:
    assert derived_widths(resolution) == PUBLISHED_WIDTHS[resolution]


@pytest.mark.parametrize("G", [resnet(32, 3, widths=[8, 8, 8, 8]), cnn(32, 3, widths=[8, 8, 8, 8])], ids=["resnet", "cnn"])
def test_labels_change_what_a_conditional_generator_makes(G: Generator) -> None:
    norms = [module for module in G.modules() if isinstance(module, ConditionalBatchNorm2d)]
    assert len(norms) == (6 if hasattr(G, "blocks") else 3)
    torch.nn.init.normal_(norms[0].beta)
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
        (lambda: resnet(36), "36 px is not 4, 5, 6 or 7 times 2, 4, 8, .*; give generator.widths"),
        (lambda: resnet(32, attention=12), "generator.attention=12: no block makes a map of this side; choose one of 8, 16, 32"),
        (lambda: biggan(z_dim=10), "generator.z_dim=10 cannot be split .* each of 3 blocks; use a multiple of 4"),
        (lambda: resnet(36, widths=[8, 8, 8, 8]), "multiple of 8, not 36"),
        (lambda: resnet(32, z_dim=0), r"generator\.z_dim=0: input should be greater than 0"),
        (lambda: resnet(32, depth=3), r"unknown key generator\.depth"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_way_out(make: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


def test_scales_and_shifts_of_classes_are_no_weight_matrices() -> None:
    """Spectral norm in a conditional G is of its convolutions and its linear layer."""
    G = SpectralNorm(
        build(
            "generator",
            Component(name="resnet", z_dim=4, widths=[8, 8, 8], upsampling="nearest", attention=None),
            ImageSpec(16, 3, 5),
        )
    )
    y = torch.tensor([0, 4])
    assert G(torch.randn(2, 4), y).shape == (2, 3, 16, 16)
    assert not any("norm" in name for name in G.normalize(update=False))


@pytest.mark.parametrize("make", [resnet, cnn])
def test_images_need_not_be_square(make: Callable[..., Generator]) -> None:
    G = make((16, 24), widths=[8, 8, 8])
    assert G(torch.randn(2, G.z_dim)).shape == (2, 3, 16, 24)
    with pytest.raises(UserError, match=r"(?s)multiple of 4, not 16 x 22;.*data\.resolution=\[16,24\]"):
        make((16, 22), widths=[8, 8, 8])


def test_biggan_for_cifar10_has_the_layers_of_its_authors_code() -> None:
    """4 x 64 channels; of each block two batch norms, scaled and shifted by 128 / 4 latents and 128 features of the class."""
    with torch.device("meta"):
        G = biggan(10, z_dim=128, widths=[256] * 4, shared_dim=128)
    block = 2 * 2 * (32 + 128) * 256 + 2 * (256 * 256 * 9 + 256) + 256 * 256 + 256
    assert count(G) == 10 * 128 + (32 * 4096 + 4096) + 3 * block + 2 * 256 + (256 * 3 * 9 + 3)


def test_each_part_of_the_latent_and_the_class_reach_the_image_of_biggan() -> None:
    G = biggan().eval()
    z, y = torch.randn(1, 16), torch.tensor([1])
    x = G(z, y)
    assert x.shape == (1, 3, 32, 32)
    for part in range(4):
        other = z.clone()
        other[:, 4 * part : 4 * part + 4] += 1.0
        assert not torch.equal(G(other, y), x), part
    assert not torch.equal(G(z, torch.tensor([2])), x)
    assert biggan(0)(torch.randn(2, 16)).shape == (2, 3, 32, 32)


def test_biggan_starts_orthogonal() -> None:
    for layer in Normalized(biggan(attention=16)).layers().values():
        W = matrix(layer, layer.weight.detach())
        gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)


def test_the_shared_embedding_is_not_normalised() -> None:
    assert not any("shared" in name for name in SpectralNorm(biggan()).normalize(update=False))


@pytest.mark.parametrize("make", [resnet, lambda _, **options: biggan(0, **options)], ids=["resnet", "biggan"])
def test_attention_changes_nothing_at_first_and_then_the_image(make: object) -> None:
    G = make(32, widths=[8, 8, 8, 8], attention=16)
    z = torch.randn(2, G.z_dim)
    G.eval()
    with torch.no_grad():
        before = G(z)
        G.attention.gamma.fill_(1.0)
        assert not torch.equal(G(z), before)
        G.attention.gamma.zero_()
        assert torch.equal(G(z), before)
