from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sngan.layers.bjorck import Bjorck, orthonormal
from sngan.layers.linear_maps import matrix
from sngan.layers.normalized import bake

LAYERS = {
    "wide": lambda: nn.Conv2d(3, 8, 3),
    "tall": lambda: nn.Linear(4, 10),
    "transposed": lambda: nn.ConvTranspose2d(5, 7, 4),
    "one_output": lambda: nn.Linear(10, 1),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_all_singular_values_are_one(kind: str) -> None:
    layer = LAYERS[kind]().double()
    weight = Bjorck(nn.Sequential(layer)).normalize(update=True)["0.weight"]
    values = torch.linalg.svdvals(matrix(layer, weight))
    torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=1e-2)


def test_it_is_the_nearest_orthonormal_matrix() -> None:
    """The polar factor U V^T of W = U S V^T."""
    U, S, Vh = torch.linalg.svd(torch.randn(4, 6, dtype=torch.float64), full_matrices=False)
    S = torch.tensor([1.0, 0.8, 0.5, 0.1], dtype=torch.float64)
    torch.testing.assert_close(orthonormal(U * S @ Vh), U @ Vh, rtol=0, atol=1e-6)
    torch.testing.assert_close(orthonormal((U * S @ Vh).T), (U @ Vh).T, rtol=0, atol=1e-6)


def test_the_gradient_is_that_of_the_iterations() -> None:
    D = Bjorck(nn.Sequential(nn.Linear(3, 2).double()))

    def weights(W: torch.Tensor) -> torch.Tensor:
        with torch.nn.utils.stateless._reparametrize_module(D.network, {"0.weight": W}):
            return D.normalize(update=False)["0.weight"]

    assert torch.autograd.gradcheck(weights, D.network[0].weight)


def test_it_runs_bakes_and_keeps_what_is_excluded() -> None:
    plain = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    D = Bjorck(copy.deepcopy(plain), scale=2.0, exclude=["1"]).eval()
    x = torch.randn(3, 4)
    torch.testing.assert_close(bake(D)(x), D(x))
    assert torch.equal(bake(D)[1].weight, plain[1].weight)
    assert torch.linalg.matrix_norm(bake(D)[0].weight, 2).item() == pytest.approx(2.0, rel=0.02)
