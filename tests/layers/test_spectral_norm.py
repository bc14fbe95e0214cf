from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as torch_spectral_norm

from sngan.errors import UserError
from sngan.layers.spectral_norm import SpectralNorm, bake

LAYERS = {
    "conv": lambda: nn.Conv2d(3, 8, 3),
    "strided_conv": lambda: nn.Conv2d(4, 6, 4, stride=2),
    "transposed_conv": lambda: nn.ConvTranspose2d(5, 7, 4),
    "linear": lambda: nn.Linear(10, 4),
    "embedding": lambda: nn.Embedding(6, 9),
}


def matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    weight = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
    return weight.flatten(1)


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(8 * 4 * 4, 1)).to(dtype)


@pytest.mark.parametrize("kind", LAYERS)
def test_largest_singular_value_of_the_normalised_weight_is_one(kind: str) -> None:
    layer = LAYERS[kind]().double()
    D = SpectralNorm(nn.Sequential(layer))
    for _ in range(200):
        weight = D.normalize(update=True)["0.weight"]
    assert torch.linalg.svdvals(matrix(layer, weight))[0].item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_sigma_is_nearly_right_from_the_first_step(kind: str) -> None:
    layer = LAYERS[kind]()
    D = SpectralNorm(nn.Sequential(layer))
    exact = torch.linalg.svdvals(matrix(layer, layer.weight))[0]
    assert 0.9 * exact <= D.sigmas()["0"] <= exact * (1 + 1e-5)


def test_sigma_follows_weights_that_move_slowly() -> None:
    layer = nn.Linear(20, 30).double()
    D = SpectralNorm(nn.Sequential(layer))
    for _ in range(300):
        with torch.no_grad():
            layer.weight += 1e-4 * torch.randn_like(layer.weight)
        weight = D.normalize(update=True)["0.weight"]
    assert torch.linalg.svdvals(weight)[0].item() == pytest.approx(1.0, abs=1e-2)


@pytest.mark.filterwarnings(
    "ignore:.*weight_norm|.*spectral_norm:FutureWarning"
)  # the older form is the one with the paper's order
def test_equals_spectral_norm_of_torch_over_50_optimiser_steps() -> None:
    """From the same u, with the same weights: outputs, gradients and the weights they lead to."""
    plain = network(torch.float64)
    theirs = copy.deepcopy(plain)
    ours = SpectralNorm(plain)
    for name in ("0", "3"):
        layer = torch.nn.utils.spectral_norm(theirs.get_submodule(name))
        layer.weight_u.copy_(plain.get_submodule(name).u)
        layer.weight_v.copy_(plain.get_submodule(name).v)
    x = train_side_by_side(ours, theirs, (3, 6, 6))
    torch.testing.assert_close(plain[0].weight, theirs[0].weight_orig, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-10, atol=1e-12)


def test_equals_the_parametrisation_of_torch_over_50_optimiser_steps() -> None:
    """It updates u before v; on the transposed matrix (`dim=1`) that is the paper's order, with u and v in each other's place."""
    plain = nn.Sequential(nn.Linear(7, 5).double())
    theirs = copy.deepcopy(plain)
    ours = SpectralNorm(plain)
    oracle = torch_spectral_norm(theirs[0], dim=1).parametrizations.weight[0]
    oracle._u.copy_(plain[0].v)
    oracle._v.copy_(plain[0].u)
    x = train_side_by_side(ours, theirs, (7,))
    torch.testing.assert_close(plain[0].weight, theirs[0].parametrizations.weight.original, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-10, atol=1e-12)


def train_side_by_side(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> Tensor:
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (ours, theirs)]
    for _ in range(50):
        x = torch.randn(4, *shape, dtype=torch.float64)
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    return x


def test_gradient_flows_through_sigma_with_u_and_v_constant() -> None:
    """dL/dW = (g - <g, W_SN> u v^T) / sigma, the form of paper eq. 12 for a general g."""
    layer = nn.Linear(5, 4).double()
    D = SpectralNorm(nn.Sequential(layer))
    weight = D.normalize(update=False)["0.weight"]
    g = torch.randn_like(weight)
    (gradient,) = torch.autograd.grad(weight, layer.weight, g)
    sigma = D.sigmas()["0"]
    formula = (g - (g * weight.detach()).sum() * torch.outer(layer.u, layer.v)) / sigma
    torch.testing.assert_close(gradient, formula, rtol=1e-12, atol=1e-12)


def test_gradient_equals_finite_differences() -> None:
    D = SpectralNorm(network(torch.float64)).eval()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    names, parameters = zip(*D.network.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        with torch.nn.utils.stateless._reparametrize_module(D.network, dict(zip(names, values, strict=True))):
            return D(x).sum()

    assert torch.autograd.gradcheck(loss, parameters)


def test_training_mode_advances_u_once_a_forward() -> None:
    layer = nn.Linear(5, 4)
    D = SpectralNorm(nn.Sequential(layer))
    W, u = layer.weight.detach(), layer.u.clone()
    D(torch.zeros(1, 5))
    v = nn.functional.normalize(W.T @ u, dim=0)
    torch.testing.assert_close(layer.u, nn.functional.normalize(W @ v, dim=0))
    torch.testing.assert_close(layer.v, v)


def test_eval_mode_does_not_advance_u() -> None:
    D = SpectralNorm(network()).eval()
    before = {name: value.clone() for name, value in D.state_dict().items()}
    D(torch.randn(2, 3, 6, 6))
    D.sigmas()
    for name, value in D.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_given_weights_are_used_and_move_nothing() -> None:
    D = SpectralNorm(network())
    weights = D.normalize(update=True)
    u = D.network[0].u.clone()
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(D(x, weights=weights), D(x, weights=weights))
    assert torch.equal(D.network[0].u, u)


def test_the_parameter_itself_is_not_rescaled() -> None:
    """The widespread form `weight.data = W / sigma` shrinks the parameter again and again; here W stays W."""
    D = SpectralNorm(network())
    before = D.network[0].weight.clone()
    for _ in range(5):
        D(torch.randn(2, 3, 6, 6))
    assert torch.equal(D.network[0].weight, before)


def test_update_does_not_disturb_an_earlier_graph() -> None:
    D = SpectralNorm(network())
    x = torch.randn(2, 3, 6, 6)
    real, fake = D(x), D(x + 1)
    (real.sum() + fake.sum()).backward()
    assert all(p.grad is not None for p in D.parameters())


def test_arithmetic_is_float32_under_autocast() -> None:
    D = SpectralNorm(network())
    plain = D.normalize(update=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = D.normalize(update=False)
    for name, weight in plain.items():
        assert cast[name].dtype == torch.float32
        assert torch.equal(cast[name], weight)


def test_copies_and_state_dicts_carry_u_and_v() -> None:
    D = SpectralNorm(network())
    D.normalize(update=True)
    twin, loaded = copy.deepcopy(D), SpectralNorm(network())
    loaded.load_state_dict(D.state_dict())
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(twin.eval()(x), D.eval()(x))
    assert torch.equal(loaded.eval()(x), D(x))


def test_bake_gives_the_plain_network_with_normalised_weights() -> None:
    D = SpectralNorm(network()).eval()
    plain = bake(D)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(plain(x), D(x))
    assert plain.state_dict().keys() == network().state_dict().keys()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_without_a_norm_are_refused(value: float) -> None:
    plain = network()
    nn.init.constant_(plain[3].weight, value)
    with pytest.raises(UserError, match=r"3\.weight is zero or not finite"):
        SpectralNorm(plain)


def test_building_draws_no_global_random_number() -> None:
    plain = network()
    before = torch.get_rng_state()
    SpectralNorm(plain)
    assert torch.equal(torch.get_rng_state(), before)
