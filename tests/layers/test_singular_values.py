"""The exact values, against dense matrices written out in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.layers.singular_values import drift, largest_singular_value, operator_norm, singular_values
from sngan.layers.spectral_norm import SpectralNorm


def dense(linear_map: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """The matrix [outputs, inputs] of a linear map of one image [C, H, W]."""
    n = torch.Size(shape).numel()
    units = torch.eye(n, dtype=torch.float64).view(n, *shape)
    return linear_map(units).flatten(1).T


def circular(layer: nn.Conv2d, size: int) -> Callable[[Tensor], Tensor]:
    """The layer's convolution on the torus, whose every window may go round more than once."""
    kh, kw = layer.kernel_size
    stride = layer.stride[0]

    def convolve(x: Tensor) -> Tensor:
        rows, columns = (torch.arange(size + k - 1) % size for k in (kh, kw))
        return F.conv2d(x[:, :, rows][:, :, :, columns], layer.weight, stride=stride)[:, :, : size // stride, : size // stride]

    return convolve


CONVOLUTIONS = {
    "3x3": (lambda: nn.Conv2d(2, 3, 3), 5),
    "4x4_stride_2": (lambda: nn.Conv2d(3, 2, 4, stride=2), 6),
    "more_outputs_than_inputs": (lambda: nn.Conv2d(1, 9, 4, stride=2), 6),
    "1x1": (lambda: nn.Conv2d(3, 4, 1), 4),
    "1x1_stride_2": (lambda: nn.Conv2d(3, 4, 1, stride=2), 4),
    "even_kernel_odd_torus": (lambda: nn.Conv2d(2, 2, 2), 3),
    "kernel_larger_than_the_torus": (lambda: nn.Conv2d(2, 3, 5), 2),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_norm_of_a_circular_convolution_is_that_of_its_matrix(kind: str) -> None:
    make, size = CONVOLUTIONS[kind]
    layer = make().double()
    W = dense(circular(layer, size), (layer.in_channels, size, size))
    assert operator_norm(layer, layer.weight, (size, size)) == pytest.approx(torch.linalg.matrix_norm(W, 2).item(), rel=1e-10)


def test_a_transposed_convolution_has_the_norm_of_its_adjoint() -> None:
    transposed = nn.ConvTranspose2d(3, 2, 4, stride=2).double()
    adjoint = nn.Conv2d(2, 3, 4, stride=2).double()
    adjoint.weight.data = transposed.weight.data
    W = dense(circular(adjoint, 6), (2, 6, 6))
    assert operator_norm(transposed, transposed.weight, (6, 6)) == pytest.approx(torch.linalg.matrix_norm(W, 2).item(), rel=1e-10)


def test_norm_of_a_linear_layer_is_its_largest_singular_value() -> None:
    layer = nn.Linear(5, 7)
    expected = torch.linalg.svdvals(layer.weight.double())[0].item()
    assert operator_norm(layer, layer.weight, (1, 1)) == pytest.approx(expected, rel=1e-10)


def test_norm_of_an_embedding_is_its_longest_row() -> None:
    layer = nn.Embedding(4, 6)
    assert operator_norm(layer, layer.weight, (1, 1)) == pytest.approx(max(row.norm().item() for row in layer.weight), rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 6), (6, 1)])
def test_largest_singular_value_is_the_first_of_all(shape: tuple[int, int]) -> None:
    W = torch.randn(shape)
    expected = torch.linalg.svdvals(W.double())
    assert largest_singular_value(W) == pytest.approx(expected[0].item(), rel=1e-10)
    torch.testing.assert_close(singular_values(W), expected)


def test_largest_singular_value_of_zeros_is_zero() -> None:
    assert largest_singular_value(torch.zeros(3, 4)) == 0.0


def test_drift_is_one_where_power_iteration_has_converged() -> None:
    D = SpectralNorm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(6, 4)).double())
    D.vectors.advance(2000)
    assert drift(D) == {"0": pytest.approx(1.0, abs=1e-9), "1": pytest.approx(1.0, abs=1e-9)}


def test_drift_shows_a_layer_whose_vectors_are_lost() -> None:
    D = SpectralNorm(nn.Sequential(nn.Linear(60, 40), nn.Linear(40, 1)))
    D.network[0].u.copy_(F.normalize(torch.randn(40), dim=0))
    found = drift(D)
    assert abs(found["0"]) < 0.7
    assert found["1"] == pytest.approx(1.0, abs=1e-5)


def test_drift_is_of_what_is_followed_alone() -> None:
    assert drift(Normalized(nn.Sequential(nn.Linear(3, 3)))) == {}
