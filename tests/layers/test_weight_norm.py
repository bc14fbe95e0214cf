from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sngan.errors import UserError
from sngan.layers.linear_maps import matrix
from sngan.layers.normalized import bake
from sngan.layers.weight_norm import WeightNorm

LAYERS = {
    "conv": lambda: nn.Conv2d(3, 8, 3),
    "transposed_conv": lambda: nn.ConvTranspose2d(5, 7, 4),
    "linear": lambda: nn.Linear(10, 4),
    "embedding": lambda: nn.Embedding(6, 9),
}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(8 * 4 * 4, 1)).double()


@pytest.mark.parametrize("kind", LAYERS)
def test_every_row_has_length_1_and_its_direction(kind: str) -> None:
    layer = LAYERS[kind]().double()
    W = matrix(layer, layer.weight)
    rows = matrix(layer, WeightNorm(nn.Sequential(layer)).normalize(update=True)["0.weight"])
    torch.testing.assert_close(rows, W / W.norm(dim=1, keepdim=True))


def test_a_fixed_scale_is_the_length() -> None:
    weight = WeightNorm(network(), scale=0.5).normalize(update=True)["3.weight"]
    assert weight.norm().item() == pytest.approx(0.5)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_learned_scale_equals_weight_norm_of_torch(kind: str) -> None:
    """g v / |v| for each output: the same weight, and the same gradients by both."""
    ours = LAYERS[kind]().double()
    theirs = copy.deepcopy(ours)
    dim = 1 if kind == "transposed_conv" else 0
    torch.nn.utils.parametrizations.weight_norm(theirs, dim=dim)
    D = WeightNorm(nn.Sequential(ours), scale="learned")
    target = torch.randn_like(ours.weight)
    optimizers = [torch.optim.Adam(m.parameters(), lr=1e-2) for m in (D, theirs)]
    for _ in range(20):
        for weight, optimizer in (
            (lambda: D.normalize(update=True)["0.weight"], optimizers[0]),
            (lambda: theirs.weight, optimizers[1]),
        ):
            optimizer.zero_grad()
            (weight() - target).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(D.normalize(update=True)["0.weight"], theirs.weight, rtol=1e-8, atol=1e-10)


def test_bake_leaves_the_plain_network() -> None:
    D = WeightNorm(network(), scale="learned")
    plain, x = bake(D), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(plain(x), D(x))
    assert plain.state_dict().keys() == network().state_dict().keys()


def test_a_row_of_zeros_is_refused() -> None:
    plain = network()
    with torch.no_grad():
        plain[0].weight[2] = 0.0
    with pytest.raises(UserError, match=r"0\.weight has a row of zeros"):
        WeightNorm(plain)


def test_the_rows_of_a_grouped_transposed_convolution_are_those_of_its_groups() -> None:
    """Output channel j of group g is made from the inputs of this group alone."""
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2).double()
    for scale in (1.0, "learned"):
        layer = nn.ConvTranspose2d(4, 6, 3, groups=2).double()
        D = WeightNorm(nn.Sequential(layer), scale=scale)
        if scale == "learned":
            torch.testing.assert_close(D.normalize(update=False)["0.weight"], layer.weight)
            nn.init.ones_(layer.gamma)
        weight = D.normalize(update=True)["0.weight"]
        for g in range(2):
            lengths = weight[2 * g : 2 * g + 2].transpose(0, 1).flatten(1).norm(dim=1)
            torch.testing.assert_close(lengths, torch.ones_like(lengths))
