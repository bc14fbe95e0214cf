"""What bounds a discriminator's slope does bound it, and the slope between images is the one that a loop would find."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sngan.config import Component
from sngan.data.batches import to_float
from sngan.data.images import ImageSpec
from sngan.inspection.lipschitz import largest_slope, logits, norm_on_maps, upper_bound
from sngan.layers.linear_maps import matrix
from sngan.layers.map_sizes import Maps, map_sizes
from sngan.layers.normalization import activation_norm
from sngan.layers.normalized import Normalized
from sngan.layers.resampling import PooledConv2d, UpsampledConv2d
from sngan.layers.spectral_norm import SpectralNorm
from sngan.registry import build

RESNET = {"name": "resnet", "hidden": "input", "shortcut": "input", "head_bias": True, "attention": None, "init": "glorot"}
NETWORKS = {
    "cnn": {"name": "cnn", "widths": [8, 8, 8], "slope": 0.1},
    "cnn_steep": {"name": "cnn", "widths": [8, 8, 8], "slope": 2.0},
    "dcgan": {"name": "dcgan", "width": 4, "slope": 0.2},
    "dcgan_steep": {"name": "dcgan", "width": 4, "slope": 2.0},
    "resnet": {**RESNET, "widths": [8, 8, 8], "downsample": [True, True, False]},
    "resnet_of_one_block": {**RESNET, "widths": [8], "downsample": [False]},
}


def network(name: str, n_classes: int = 0, norm: str = "none") -> nn.Module:
    options = NETWORKS[name]
    return build(
        "discriminator", Component(**{"labels": "projection", **options}), ImageSpec(32, 3, n_classes), activation_norm(norm)
    )


def norms(D: Normalized, y: Tensor | None = None) -> dict[str, float | None]:
    sizes = map_sizes(D.network, torch.zeros(2, 3, 32, 32), y)
    weights = D.normalize(update=False)
    return {name: norm_on_maps(m, weights.get(f"{name}.weight", m.weight), sizes.get(name)) for name, m in D.layers().items()}


def steepest_gradient(D: Normalized, *, label: int | None = None) -> float:
    """The longest gradient in x that climbing it finds: a lower bound on the Lipschitz constant, tighter than pairs of images give."""
    x = torch.randn(16, 3, 32, 32, dtype=torch.float64)
    y = None if label is None else torch.full((16,), label)
    longest = 0.0
    for _ in range(5):
        x.requires_grad_()
        (g,) = torch.autograd.grad(D(x, y).sum(), x)
        longest = max(longest, g.flatten(1).norm(dim=1).max().item())
        x = (x + 10 * g / g.flatten(1).norm(dim=1)[:, None, None, None]).detach()
    return longest


@pytest.mark.parametrize("is_spectral", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_is_longer_than_the_bound(name: str, is_spectral: bool) -> None:
    plain = network(name)
    for weight in (p.data for p in plain.parameters() if p.dim() > 1):
        weight += 3 * weight.std()  # all layers stretch one direction most, and the same one: the bound is nearly met
    D = (SpectralNorm if is_spectral else Normalized)(plain).eval()
    bound, note = upper_bound(D, norms(D))
    D.double()
    assert note is None
    assert 0 < steepest_gradient(D) <= bound * (1 + 1e-5)


@pytest.mark.parametrize("name", ["resnet", "cnn", "dcgan"])
@pytest.mark.parametrize("label", [0, 3])
def test_the_bound_holds_for_every_label(name: str, label: int) -> None:
    D = SpectralNorm(network(name, n_classes=4)).eval()
    with torch.no_grad():
        D.network.embedding.weight[3] *= 50
    bound, _ = upper_bound(D, norms(D, torch.zeros(2, dtype=torch.int64)))
    assert 0 < steepest_gradient(copy.deepcopy(D).double(), label=label) <= bound


def test_the_bound_is_met_by_layers_that_agree() -> None:
    """Multiples of the identity, and an activation that is linear: the product is the norm itself."""
    options = Component(name="cnn", widths=[1], slope=1.0, labels="projection")
    D = Normalized(build("discriminator", options, ImageSpec(4, 1, 0), activation_norm("none")))
    with torch.no_grad():
        D.network.convs[0].weight.zero_()[0, 0, 1, 1] = 3.0
        D.network.linear.weight.fill_(0.5)
    sizes = map_sizes(D.network, torch.zeros(1, 1, 4, 4))
    bound, _ = upper_bound(D, {name: norm_on_maps(m, m.weight, sizes.get(name)) for name, m in D.layers().items()})
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    (g,) = torch.autograd.grad(D(x).sum(), x)
    assert g.norm().item() == pytest.approx(3.0 * 0.5 * 4)
    assert bound == pytest.approx(3.0 * 0.5 * 4)


def test_the_bound_of_a_residual_network_by_hand() -> None:
    D = network("resnet")
    given = {f"blocks.{i}.conv{j}": 2.0 for i in range(3) for j in (1, 2)} | {"blocks.0.shortcut": 3.0, "blocks.1.shortcut": 5.0}
    expected = (4 + 3) / 2 * (4 + 5) / 2 * (4 + 1) * 8 * 7.0  # halved, halved, identity, 8 x 8 maps, the head
    assert D.bound({**given, "linear": 7.0}) == pytest.approx(expected)
    assert D.bound({**given, "linear": 4.0, "embedding": 3.0}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("norm", "layer"), [("batch", "BatchNorm2d"), ("layer", "GroupNorm"), ("instance", "GroupNorm"), ("group", "GroupNorm")]
)
def test_norms_of_activations_have_no_bound(norm: str, layer: str) -> None:
    D = Normalized(network("cnn", norm=norm))
    bound, note = upper_bound(D, norms(D))
    assert bound is None
    assert note.startswith(layer)


def test_attention_has_no_bound() -> None:
    options = Component(**NETWORKS["resnet"] | {"labels": "projection", "attention": 8})
    D = Normalized(build("discriminator", options, ImageSpec(32, 3, 0), nn.Identity))
    assert upper_bound(D, norms(D))[1].startswith("self-attention weighs pixels")


def test_a_network_that_does_not_say_how_its_layers_compose_has_no_bound() -> None:
    bound, note = upper_bound(Normalized(nn.Sequential(nn.Linear(3, 1))), {"0": 1.0})
    assert bound is None
    assert "Sequential has no method bound" in note


def test_a_layer_of_unknown_norm_leaves_no_bound() -> None:
    bound, note = upper_bound(Normalized(network("cnn")), {"convs.0": 1.0, "linear": None})
    assert bound is None
    assert note == "no norm is known for linear"


ZERO_PADDED = {
    "3x3": (lambda: nn.Conv2d(2, 3, 3, padding=1), 6),
    "4x4_stride_2": (lambda: nn.Conv2d(3, 4, 4, stride=2, padding=1), 8),
    "3x3_stride_2_of_odd_maps": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), 7),
    "unpadded": (lambda: nn.Conv2d(2, 3, 3), 8),
    "1x1": (lambda: nn.Conv2d(3, 4, 1), 4),
    "transposed_4x4_stride_2": (lambda: nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1), 4),
    "transposed_3x3_stride_2": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), 4),
}


def matrix_norm(layer: nn.Module, size: int) -> float:
    """The norm of the layer's linear part on maps of this size, by its dense matrix."""
    n = layer.in_channels * size**2
    units = torch.eye(n, dtype=torch.float64).view(n, layer.in_channels, size, size)
    with torch.no_grad():
        W = (layer(units) - layer(torch.zeros_like(units[:1]))).flatten(1)
    return torch.linalg.matrix_norm(W, 2).item()


def norm_of(layer: nn.Module, size: int) -> float | None:
    x = torch.zeros(1, layer.in_channels, size, size, dtype=torch.float64)
    return norm_on_maps(layer, layer.weight, map_sizes(nn.Sequential(layer), x)["0"])


@pytest.mark.parametrize("kind", ZERO_PADDED)
def test_the_norm_on_maps_bounds_the_zero_padded_convolution_closely(kind: str) -> None:
    make, size = ZERO_PADDED[kind]
    layer = make().double()
    exact, bound = matrix_norm(layer, size), norm_of(layer, size)
    assert exact <= bound * (1 + 1e-10)
    assert exact >= 0.85 * bound


@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_the_norm_of_a_convolution_that_sees_all_of_its_input_is_exact(kind: str) -> None:
    layer, size = (nn.Conv2d(5, 2, 4), 4) if kind == "conv" else (nn.ConvTranspose2d(5, 2, 4), 1)
    layer = layer.double()
    assert norm_of(layer, size) == pytest.approx(matrix_norm(layer, size), rel=1e-10)


def test_a_convolution_that_sees_all_of_its_input_has_the_norm_of_its_matrix() -> None:
    layer = nn.Conv2d(5, 2, 4)
    expected = torch.linalg.matrix_norm(matrix(layer, layer.weight).double(), 2).item()
    assert norm_on_maps(layer, layer.weight, Maps((4, 4), (1, 1))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("make", [UpsampledConv2d, PooledConv2d])
def test_the_norm_of_a_convolution_with_resampling_is_that_of_the_convolution(make: Callable[[int, int], nn.Conv2d]) -> None:
    layer = make(2, 3).double()
    alone = nn.Conv2d(2, 3, 3, padding=1).double()
    alone.load_state_dict(layer.state_dict())
    size = 2 if make is UpsampledConv2d else 4
    assert norm_of(layer, size) == norm_of(alone, 4)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, stride=(1, 2)),
        nn.Conv1d(4, 4, 3),
    ],
    ids=str,
)
def test_other_kinds_of_convolution_have_no_known_norm(layer: nn.Module) -> None:
    assert norm_on_maps(layer, layer.weight, Maps((8, 8), (8, 8))) is None


def test_a_layer_that_is_not_run_has_no_known_norm() -> None:
    layer = nn.Conv2d(4, 4, 3)
    assert norm_on_maps(layer, layer.weight, None) is None


def test_map_sizes_are_the_largest_of_several_calls() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    assert map_sizes(nn.Sequential(conv, nn.AvgPool2d(2), conv), torch.zeros(1, 3, 8, 8)) == {"0": Maps((8, 8), (8, 8))}


def test_the_largest_slope_is_the_one_that_a_loop_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sngan.sampling.fitting.BATCH", 4)
    D = SpectralNorm(network("resnet", n_classes=3)).eval()
    pixels = torch.randint(256, (9, 3, 32, 32), dtype=torch.uint8)
    pixels[5] = pixels[2]  # a pair without a slope
    expected = 0.0
    x = to_float(pixels, None)
    for label in range(3):
        with torch.no_grad():
            values = D(x, torch.full((9,), label))
        for i in range(9):
            for j in range(i):
                if (i, j) != (5, 2):
                    expected = max(expected, ((values[i] - values[j]).abs() / (x[i] - x[j]).norm()).item())
    assert largest_slope(logits(D, pixels, n_classes=3), pixels) == pytest.approx(expected, rel=1e-4)


def test_equal_images_have_no_slope() -> None:
    pixels = torch.full((3, 1, 2, 2), 7, dtype=torch.uint8)
    assert largest_slope(torch.randn(1, 3).double(), pixels) is None


def test_neighbouring_grey_levels_are_told_apart_exactly() -> None:
    pixels = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8)
    pixels[1, 0, 0, 0] = 254
    assert largest_slope(torch.tensor([[0.0, 1.0]]).double(), pixels) == pytest.approx(127.5, rel=1e-12)


def test_at_most_ten_labels_are_tried() -> None:
    D = SpectralNorm(network("resnet", n_classes=12)).eval()
    assert logits(D, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), n_classes=12).shape == (10, 2)
