"""Each norm against its formula, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from conftest import composed
from sngan import Config, ImageSpec, UserError
from sngan.layers.normalization import activation_norm, normalized
from sngan.layers.normalized import Normalized
from sngan.layers.spectral_norm import SpectralNorm
from sngan.layers.weight_norm import WeightNorm
from sngan.networks import build_discriminator

# over which of [N, C, H, W] the mean and the variance are taken; for groups, of [N, groups, C / groups, H, W]
EXAMPLE = (torch.zeros(2, 3, 6, 6),)

AXES = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}


def standardized(h: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    mean, variance = h.mean(axes, keepdim=True), h.var(axes, keepdim=True, unbiased=False)
    return (h - mean) / (variance + eps).sqrt()


@pytest.mark.parametrize("kind", AXES)
def test_equals_its_formula(kind: str) -> None:
    norm = activation_norm(kind)(6).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    h = torch.randn(4, 6, 5, 5, dtype=torch.float64) * 3 + 1
    scale, shift = norm.weight.view(6, 1, 1), norm.bias.view(6, 1, 1)
    eps = 2e-5 if kind == "batch" else 1e-5  # Chainer's, which the author code uses; torch's
    h *= 1e-2  # so that it matters
    torch.testing.assert_close(norm(h), scale * standardized(h, AXES[kind], eps) + shift)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (128, 32), (32, 16), (16, 8), (48, 24), (7, 1)])
def test_group_norm_has_at_most_32_groups_of_two_channels_or_more(channels: int, groups: int) -> None:
    norm = activation_norm("group")(channels).double()
    h = torch.randn(2, channels, 4, 4, dtype=torch.float64)
    apart = h.view(2, groups, channels // groups, 4, 4)
    torch.testing.assert_close(norm(h), standardized(apart, (2, 3, 4), norm.eps).view_as(h))


@pytest.mark.parametrize("kind", ["spectral", "weight", "none"])
def test_norms_of_weights_leave_activations_alone(kind: str) -> None:
    h = torch.randn(2, 3, 4, 4)
    assert torch.equal(activation_norm(kind)(3)(h), h)


def options(*overrides: str) -> Config:
    return composed("discriminator=cnn", *overrides)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 4 * 4, 1))


@pytest.mark.parametrize(
    ("kind", "wrapper"),
    [("spectral", SpectralNorm), ("weight", WeightNorm), ("none", Normalized), ("batch", Normalized), ("group", Normalized)],
)
def test_the_config_chooses_the_wrapper(kind: str, wrapper: type) -> None:
    config = options(f"discriminator.normalization={kind}")
    assert type(normalized(network(), config.discriminator, EXAMPLE, role="discriminator")) is wrapper


def test_options_reach_the_wrapper() -> None:
    config = options(
        "discriminator.scale=learned",
        "discriminator.exclude=['2']",
        "discriminator.power_iterations=3",
        "discriminator.iterate_per=forward",
        "discriminator.norm_of=map",
    )
    D = normalized(network(), config.discriminator, EXAMPLE, role="discriminator")
    assert isinstance(D, SpectralNorm)
    assert (D.scale, D.power_iterations, D.iterates_per_forward) == ("learned", 3, True)
    assert D.normalize(update=False).keys() == {"0.weight"}


@pytest.mark.parametrize("kind", ["spectral", "weight"])
def test_scale_and_excluded_layers_reach_either_norm_of_weights(kind: str) -> None:
    config = options(f"discriminator.normalization={kind}", "discriminator.scale=2.5", "discriminator.exclude=['2']")
    plain = network()
    D = normalized(plain, config.discriminator, EXAMPLE, role="discriminator")
    expected = {"spectral": SpectralNorm, "weight": WeightNorm}[kind](plain_copy(plain), scale=2.5, exclude=["2"])
    (weight,), (wanted,) = D.normalize(update=False).values(), expected.normalize(update=False).values()
    assert torch.equal(weight, wanted)


def plain_copy(layers: nn.Module) -> nn.Module:
    """Another network of the same weights."""
    twin = network()
    twin.load_state_dict({name: value for name, value in layers.state_dict().items() if name.endswith(("weight", "bias"))})
    return twin


def test_errors_name_the_networks_key() -> None:
    config = options("generator.normalization=spectral", "generator.exclude=[nothing]")
    with pytest.raises(UserError, match=r"generator\.exclude=nothing: no layer has this name"):
        normalized(network(), config.generator, EXAMPLE, role="generator")


def test_without_a_norm_the_network_runs_as_it_is() -> None:
    plain = network()
    D, x = Normalized(plain), torch.randn(2, 3, 6, 6)
    assert D.normalize(update=True) == {}
    assert torch.equal(D(x), plain(x))
    assert torch.equal(D(x, weights={}), plain(x))


@pytest.mark.parametrize("kind", ["instance", "group"])
def test_a_norm_that_would_leave_nothing_is_refused_before_the_run(kind: str) -> None:
    widths = "discriminator.widths=[1,1,1,1,1,1,1,1,1,1,1]"  # five halvings of 32 px
    with pytest.raises(UserError, match=r"a group would be a single number, one channel of a map of one pixel \(\[1, 1, 1\]\)"):
        build_discriminator(options(widths, f"discriminator.normalization={kind}"), ImageSpec(32, 3, 0))
