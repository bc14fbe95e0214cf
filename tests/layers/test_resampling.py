from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sngan.layers.resampling import SMALLEST_FUSED, PooledConv2d, UpsampledConv2d, shifted_mean
from sngan.layers.singular_values import largest_singular_value
from sngan.layers.spectral_norm import SpectralNorm

LAYERS = [UpsampledConv2d, PooledConv2d]


def plain(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The two operations, one after the other."""
    if isinstance(layer, UpsampledConv2d):
        return F.conv2d(F.interpolate(x, scale_factor=2), layer.weight, layer.bias, padding=1)
    return F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("make", LAYERS)
def test_output_and_gradients_are_those_of_the_two_operations(make: Callable[..., nn.Conv2d], fused: bool) -> None:
    layer = make(5, 7).double()
    layer.fused = fused
    x = torch.randn(3, 5, 6, 10, dtype=torch.float64, requires_grad=True)
    y, expected = layer(x), plain(layer, x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    g = torch.randn_like(y)
    inputs = [x, layer.weight, layer.bias]
    for got, wanted in zip(torch.autograd.grad(y, inputs, g), torch.autograd.grad(expected, inputs, g), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", LAYERS)
def test_the_second_derivative_is_that_of_the_two_operations(make: Callable[..., nn.Conv2d]) -> None:
    """Penalties on the gradient need it."""
    layer = make(3, 4).double()
    layer.fused = True

    def slope(forward: Callable[[Tensor], Tensor]) -> Tensor:
        x = torch.linspace(-1, 1, 2 * 3 * 6 * 6, dtype=torch.float64).view(2, 3, 6, 6).requires_grad_()
        (gradient,) = torch.autograd.grad(forward(x).square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), layer.weight)
        return second

    torch.testing.assert_close(slope(layer), slope(lambda x: plain(layer, x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", LAYERS)
def test_one_operation_is_chosen_where_the_smaller_map_is_large_enough(make: Callable[..., nn.Conv2d]) -> None:
    layer = make(2, 2)
    scale = 1 if make is UpsampledConv2d else 2
    for side in (SMALLEST_FUSED, SMALLEST_FUSED // 2):
        x = torch.randn(1, 2, scale * side, scale * side)
        chosen = layer(x)
        layer.fused = side == SMALLEST_FUSED
        assert torch.equal(chosen, layer(x))
        layer.fused = not layer.fused
        assert not torch.equal(chosen, layer(x)), "the other form rounds otherwise"
        layer.fused = None


@pytest.mark.parametrize("make", LAYERS)
def test_sigma_is_that_of_the_3x3_weight(make: Callable[..., nn.Conv2d]) -> None:
    torch.manual_seed(0)
    D = SpectralNorm(nn.Sequential(make(4, 6)).double())
    layer = D.network[0]
    assert layer.weight.shape == (6, 4, 3, 3)
    assert D.sigmas()["0"].item() == pytest.approx(largest_singular_value(layer.weight.flatten(1)), rel=1e-2)
    x = torch.randn(2, 4, 16, 16, dtype=torch.float64)
    weight = D.normalize(update=False)["0.weight"]
    with torch.no_grad():
        layer.weight.copy_(weight)
        torch.testing.assert_close(D(x, weights={"0.weight": weight}), plain(layer, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", LAYERS)
def test_under_autocast_the_kernel_is_made_in_full_precision(make: Callable[..., nn.Conv2d]) -> None:
    layer, x = make(4, 4), torch.randn(2, 4, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), plain(layer, x), rtol=0.02, atol=0.02)


def test_the_mean_of_shifts_is_a_quarter_of_their_sum_to_the_bit() -> None:
    weight = torch.randn(16, 8, 3, 3, requires_grad=True)
    total = F.avg_pool2d(weight, 2, stride=1, padding=1, divisor_override=1)
    mean = shifted_mean(weight)
    assert torch.equal(4 * mean, total)
    assert torch.equal(mean, total / 4)
    g = torch.randn_like(total)
    assert torch.equal(*(torch.autograd.grad(kernel, weight, g)[0] for kernel in (4 * mean, total)))
