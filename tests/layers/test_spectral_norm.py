from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as torch_spectral_norm

from conftest import composed
from sngan import ImageSpec
from sngan.errors import UserError
from sngan.layers import spectral_norm
from sngan.layers.batched_power_iteration import Batches, Stack, group
from sngan.layers.linear_maps import TRANSPOSED, Matrices, matrix, output_dimension
from sngan.layers.normalized import Normalized, bake
from sngan.layers.singular_values import drift
from sngan.layers.spectral_norm import SpectralNorm, follow_sigma, power_iteration, sigma
from sngan.layers.weight_norm import WeightNorm
from sngan.networks import build_discriminator

LAYERS = {
    "conv": lambda: nn.Conv2d(3, 8, 3),
    "strided_conv": lambda: nn.Conv2d(4, 6, 4, stride=2),
    "transposed_conv": lambda: nn.ConvTranspose2d(5, 7, 4),
    "linear": lambda: nn.Linear(10, 4),
    "embedding": lambda: nn.Embedding(6, 9),
}


@pytest.fixture
def batched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of GPUs, all layers together, on this CPU."""
    monkeypatch.setattr(spectral_norm, "LAYER_BY_LAYER_ON", frozenset())


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(8 * 4 * 4, 1)).to(dtype)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_matrix_is_the_textbook_one_with_its_columns_in_another_order(kind: str) -> None:
    layer = LAYERS[kind]()
    textbook = layer.weight.transpose(0, 1) if isinstance(layer, TRANSPOSED) else layer.weight
    W = matrix(layer, layer.weight)
    torch.testing.assert_close(torch.linalg.svdvals(W), torch.linalg.svdvals(textbook.flatten(1)))
    layout = Matrices(output_dimension(layer), channels_last=True)
    assert torch.equal(layout.unmatrix(W.flatten(), layer.weight.shape), layer.weight)


def test_a_matrix_of_a_channels_last_weight_is_a_view() -> None:
    """And so is the way back: the normalised weight has the memory format of the parameter."""
    layer = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    W = matrix(layer, layer.weight)
    assert W.data_ptr() == layer.weight.data_ptr()
    assert SpectralNorm(nn.Sequential(layer)).normalize(update=False)["0.weight"].stride() == layer.weight.stride()


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
        ours_v, weight = plain.get_submodule(name).v, layer.weight_orig
        layer.weight_v.copy_(ours_v.view(-1, weight.shape[1]).T.flatten())  # columns [kh, kw, in] -> [in, kh, kw]
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


def test_bake_moves_nothing_and_shares_nothing() -> None:
    D = SpectralNorm(network(), scale="learned")
    before = copy.deepcopy(D.state_dict())
    weights = D.normalize(update=False)
    plain = bake(D)
    assert torch.equal(plain[0].weight, weights["0.weight"])
    with torch.no_grad():
        for p in plain.parameters():
            p.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in D.state_dict().items())


def test_baked_weights_share_no_memory_where_they_were_made_together(batched: None) -> None:
    """A file of tensors could not hold them."""
    weights = [p for p in bake(SpectralNorm(many_layers())).parameters() if p.dim() > 1]
    assert len({p.untyped_storage().data_ptr() for p in weights}) == len(weights)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), 1e-30, 1e30])
def test_weights_without_a_norm_are_refused(value: float) -> None:
    for wrap in (SpectralNorm, lambda plain: follow_sigma(Normalized(plain))):
        plain = network()
        nn.init.constant_(plain[3].weight, value)
        said = "too small or too large" if value in (1e-30, 1e30) else "zero or not finite"
        with pytest.raises(UserError, match=rf"3\.weight is {said}"):
            wrap(plain)


@pytest.mark.parametrize("experiment", ["cifar10_resnet", "cifar10_cnn", "shapes"])
def test_sigma_of_the_published_networks_is_right_from_the_first_step(experiment: str) -> None:
    D = build_discriminator(composed(f"experiment={experiment}"), ImageSpec(32, 3, 0))
    assert all(0.98 < ratio < 1 + 1e-6 for ratio in drift(D).values()), drift(D)


@pytest.mark.parametrize("together", [True, False])
def test_the_gradient_is_float32_under_autocast_too(together: bool, request: pytest.FixtureRequest) -> None:
    """A backward inside the region, as a step in bfloat16 has it."""
    if together:
        request.getfixturevalue("batched")
    D = SpectralNorm(many_layers(torch.float32))
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            weights = D.normalize(update=False)
            total = sum((weight * torch.linspace(-1, 1, weight.numel()).view_as(weight)).sum() for weight in weights.values())
            gradients.append(torch.autograd.grad(total, list(D.parameters()), allow_unused=True))
    for plain, cast in zip(*gradients, strict=True):
        assert (plain is None) == (cast is None)
        assert plain is None or torch.equal(plain, cast)


def test_advancing_is_float32_under_autocast_too() -> None:
    D, twin = SpectralNorm(network()), SpectralNorm(network())
    twin.load_state_dict(D.state_dict())
    D.advance()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        twin.advance()
    assert torch.equal(D.network[3].u, twin.network[3].u)
    assert torch.equal(D.network[0].v, twin.network[0].v)


def test_advancing_moves_u_and_v_as_normalising_does() -> None:
    D = SpectralNorm(many_layers(), power_iterations=3)
    for layer in D.layers().values():
        layer.u.copy_(nn.functional.normalize(torch.randn_like(layer.u), dim=0))
    twin = copy.deepcopy(D)
    D.advance()
    twin.normalize(update=True)
    for (name, a), b in zip(D.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_network_may_change_its_type_after_its_layers_were_padded(batched: None) -> None:
    D = SpectralNorm(many_layers(torch.float32))
    exact = D.normalize(update=False)
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.bfloat16, 0.05), (torch.float32, 0.05)):
        for name, weight in D.to(dtype).normalize(update=False).items():
            assert weight.dtype == dtype
            torch.testing.assert_close(weight.float(), exact[name], rtol=tolerance, atol=tolerance)


class TwoNames(nn.Module):
    """A layer that is reached by two names, and two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.head = self.body[1]
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.body[0].weight

    def forward(self, x: Tensor, *, sign: float = 1.0) -> Tensor:
        return sign * self.tied(self.head(self.body(x)))


@pytest.mark.parametrize("exclude", [[], ["tied"]])
@pytest.mark.parametrize("norm", [SpectralNorm, WeightNorm])
def test_shared_layers_and_weights_stay_what_they_are(norm: type[Normalized], exclude: list[str]) -> None:
    D = norm(TwoNames(), exclude=exclude).eval()
    x = torch.randn(3, 4)
    expected = D(x)
    expected.sum().backward()
    assert isinstance(D.network.head.weight, nn.Parameter)
    assert D.network.tied.weight is D.network.body[0].weight
    assert all(p.grad is not None for p in D.parameters())
    torch.testing.assert_close(bake(D)(x), expected)
    torch.testing.assert_close(D(x, sign=-1.0), -expected)


@pytest.mark.parametrize(("attribute", "options"), [("u", {}), ("v", {}), ("gamma", {"scale": "learned"})])
def test_an_attribute_of_ones_own_is_not_replaced(attribute: str, options: dict[str, str]) -> None:
    plain = network()
    setattr(plain[3], attribute, torch.ones(3))
    with pytest.raises(UserError, match=f"3 has an attribute {attribute} already"):
        SpectralNorm(plain, **options)


def test_bake_removes_only_what_a_norm_has_added() -> None:
    plain = network()
    plain[3].gamma = nn.Parameter(torch.ones(3))
    assert "3.gamma" in bake(SpectralNorm(plain)).state_dict()
    assert "3.gamma" in bake(Normalized(plain)).state_dict()


def test_a_frozen_weight_is_used_at_norm_one_and_stays_frozen() -> None:
    plain = network()
    plain[3].weight.requires_grad_(False)
    D = SpectralNorm(plain)
    D(torch.randn(2, 3, 6, 6)).sum().backward()
    assert plain[3].weight.grad is None
    assert not bake(D)[3].weight.requires_grad


def test_building_draws_no_global_random_number() -> None:
    plain = network()
    before = torch.get_rng_state()
    SpectralNorm(plain)
    assert torch.equal(torch.get_rng_state(), before)


def many_layers(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Equal shapes, unequal ones that share a batch, and one that is alone."""
    shapes = [(8, 6, 3), (8, 6, 3), (8, 5, 3), (6, 6, 3), (8, 3, 1)]
    convs = [nn.Conv2d(c_in, c_out, k) for c_out, c_in, k in shapes]
    return nn.Sequential(*convs, nn.ConvTranspose2d(5, 7, 4), nn.Linear(300, 40), nn.Embedding(6, 9)).to(dtype)


def layer_by_layer(D: SpectralNorm) -> dict[str, Tensor]:
    """Algorithm 1 as it is written, for one layer after another."""
    normalized = {}
    for name, layer in D.layers().items():
        W = matrix(layer, layer.weight)
        with torch.no_grad():
            v = nn.functional.normalize(W.T @ layer.u, dim=0)
            u = nn.functional.normalize(W @ v, dim=0)
            layer.u.copy_(u)
            layer.v.copy_(v)
        normalized[f"{name}.weight"] = layer.weight / (u @ W @ v)
    return normalized


@pytest.mark.parametrize("together", [True, False])
def test_equals_the_layer_by_layer_form_over_50_optimiser_steps(together: bool, request: pytest.FixtureRequest) -> None:
    if together:
        request.getfixturevalue("batched")
    ours = SpectralNorm(many_layers())
    theirs = copy.deepcopy(ours)
    optimizers = [torch.optim.Adam(D.parameters(), lr=1e-2) for D in (ours, theirs)]
    for _ in range(50):
        targets = {f"{name}.weight": torch.randn_like(layer.weight) for name, layer in ours.layers().items()}
        for D, optimizer in zip((ours, theirs), optimizers, strict=True):
            weights = ours.normalize(update=True) if D is ours else layer_by_layer(theirs)
            optimizer.zero_grad()
            sum(((weight - targets[name]) ** 2).sum() for name, weight in weights.items()).backward()
            optimizer.step()
    batches = ours.vectors.batches()
    assert (batches and [len(stack.shapes) for stack in batches.stacks]) == ([7, 1] if together else None)
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, msg=name)


NETWORKS = {
    **{kind: lambda kind=kind: [LAYERS[kind]()] for kind in LAYERS},
    "of_one_shape": lambda: [nn.Conv2d(4, 4, 3) for _ in range(3)],
    "embeddings": lambda: [nn.Embedding(6, 9), nn.Embedding(6, 9), nn.Linear(9, 1)],
    "transposed": lambda: [nn.ConvTranspose2d(5, 7, 4), nn.ConvTranspose2d(7, 5, 4), nn.Conv2d(7, 5, 4)],
    "in_batches": lambda: list(many_layers()),
    "of_other_dimensions": lambda: [
        nn.Conv1d(4, 6, 3),
        nn.ConvTranspose1d(4, 6, 3),
        nn.Conv3d(2, 3, 2),
        nn.ConvTranspose3d(2, 3, 2),
    ],
}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("kind", NETWORKS)
def test_batched_power_iteration_equals_the_definition(kind: str, iterations: int, memory_format: torch.memory_format) -> None:
    """W / sigma, its gradient, u and v, of one update after another."""
    plain = nn.Sequential(*NETWORKS[kind]()).double()
    if memory_format == torch.contiguous_format or all(layer.weight.dim() in (2, 4) for layer in plain):
        plain.to(memory_format=memory_format)
    defined = SpectralNorm(plain)
    together = copy.deepcopy(defined)
    batches = Batches(together.vectors.weights)
    for _ in range(3):
        expected, found = defined.vectors.divided(iterations=iterations), batches.divided(iterations)
        assert expected.keys() == found.keys()
        g = [torch.randn_like(weight) for weight in expected.values()]
        for D, weights in ((defined, expected), (together, found)):
            parameters = [layer.weight for layer in D.layers().values()]
            for parameter, gradient in zip(parameters, torch.autograd.grad(list(weights.values()), parameters, g), strict=True):
                parameter.grad = gradient
        for name, layer in defined.layers().items():
            twin = together.layers()[name]
            for a, b in (
                (layer.u, twin.u),
                (layer.v, twin.v),
                (layer.weight.grad, twin.weight.grad),
                (expected[name], found[name]),
            ):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=name)
            with torch.no_grad():
                move = 0.1 * torch.randn_like(layer.weight)
                layer.weight += move
                twin.weight += move


@pytest.mark.parametrize("iterations", [1, 3])
def test_batched_power_iteration_alone_equals_the_definition(iterations: int) -> None:
    defined = SpectralNorm(many_layers())
    for layer in defined.layers().values():
        layer.u.copy_(nn.functional.normalize(torch.randn_like(layer.u), dim=0))
    together = copy.deepcopy(defined)
    defined.vectors.advance(iterations)
    Batches(together.vectors.weights).advance(iterations)
    for (name, a), b in zip(defined.state_dict().items(), together.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("kind", LAYERS)
def test_sigma_is_the_largest_singular_value_once_power_iteration_has_converged(kind: str) -> None:
    layer = LAYERS[kind]().double()
    weight = SpectralNorm(nn.Sequential(layer)).vectors.weights["0"]
    for _ in range(2000):
        power_iteration(weight)
    assert sigma(weight).item() == pytest.approx(torch.linalg.svdvals(matrix(layer, layer.weight))[0].item(), rel=1e-12)
    torch.testing.assert_close(torch.linalg.vector_norm(layer.u).item(), 1.0)
    torch.testing.assert_close(torch.linalg.vector_norm(layer.v).item(), 1.0)


def test_batches_hold_every_layer_once_and_little_padding() -> None:
    matrices = [(64, 27), (64, 1024), (128, 576), (128, 2048), (256, 1152), (256, 4096), (512, 2304), (1, 8192), (64, 27)]
    shapes = [(1, *shape) for shape in matrices] + [(3, 64, 64)]
    groups = group(shapes)
    assert sorted(i for members in groups for i in members) == list(range(len(shapes)))
    padded = sum(sum(shapes[i][0] for i in m) * max(shapes[i][1] for i in m) * max(shapes[i][2] for i in m) for m in groups)
    assert padded <= 2 * sum(n * r * c for n, r, c in shapes)
    assert len(groups) < 6


def test_padding_and_its_inverse_lose_nothing(batched: None) -> None:
    D = SpectralNorm(many_layers())
    stack = Stack({name: D.vectors.weights[name] for name in "0234"})
    assert stack.is_padded
    for weight, back in zip(stack.weights(), stack.unpad(stack.pad(stack.weights())), strict=True):
        assert torch.equal(weight, back)


def test_a_fixed_scale_multiplies_the_weights() -> None:
    plain = network()
    scaled = SpectralNorm(copy.deepcopy(plain), scale=2.5).normalize(update=False)
    for name, weight in SpectralNorm(plain).normalize(update=False).items():
        torch.testing.assert_close(scaled[name], 2.5 * weight)


def test_a_learned_scale_starts_as_the_plain_network_and_is_trained() -> None:
    plain = network(torch.float64)
    D = SpectralNorm(copy.deepcopy(plain), scale="learned")
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(D.eval()(x), plain(x))
    gamma = dict(D.network.named_parameters())["0.gamma"]
    (gradient,) = torch.autograd.grad(D(x).sum(), gamma)
    assert gamma.shape == ()
    assert gradient != 0


def test_more_power_iterations_come_closer() -> None:
    layer = nn.Linear(20, 30).double()
    errors = []
    for n in (1, 3):
        D = SpectralNorm(nn.Sequential(copy.deepcopy(layer)), power_iterations=n)
        D.network[0].u.copy_(nn.functional.normalize(torch.ones(30), dim=0))
        D.normalize(update=True)
        errors.append((torch.linalg.svdvals(layer.weight)[0] - D.sigmas()["0"]).item())
    assert 0 < errors[1] < errors[0]


def test_excluded_layers_keep_their_weights() -> None:
    D = SpectralNorm(network(), exclude=["3"])
    assert D.normalize(update=True).keys() == {"0.weight"}
    assert SpectralNorm(many_layers(), exclude=["[0-4]", "7"]).normalize(update=True).keys() == {"5.weight", "6.weight"}


@pytest.mark.parametrize(
    ("exclude", "words"), [(["last"], "exclude=last: no layer has this name; the layers are 0, 3"), (["*"], "leaves no layer")]
)
def test_what_cannot_be_excluded_is_refused(exclude: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SpectralNorm(network(), exclude=exclude)


def test_python_defaults_are_those_of_the_configs() -> None:
    options = composed().discriminator
    parameters = inspect.signature(SpectralNorm).parameters
    for key in ("power_iterations", "iterate_per", "scale", "exclude"):
        assert parameters[key].default == getattr(options, key)


def test_compiles_to_the_same_numbers() -> None:
    D = SpectralNorm(network())
    twin = copy.deepcopy(D)
    x = torch.randn(2, 3, 6, 6)
    compiled = torch.compile(twin, backend="aot_eager")
    for _ in range(2):
        ours, theirs = D(x), compiled(x)
        torch.testing.assert_close(ours, theirs)
        for p, q in zip(
            torch.autograd.grad(ours.sum(), list(D.parameters())),
            torch.autograd.grad(theirs.sum(), list(twin.parameters())),
            strict=True,
        ):
            torch.testing.assert_close(p, q)
        assert torch.equal(D.network[0].u, twin.network[0].u)


@pytest.mark.parametrize("together", [True, False])
def test_a_second_derivative_by_the_weights_is_that_with_u_and_v_constant(together: bool, request: pytest.FixtureRequest) -> None:
    if together:
        request.getfixturevalue("batched")
    layer = nn.Linear(3, 2).double()
    D = SpectralNorm(nn.Sequential(layer))

    def loss(W: Tensor) -> Tensor:
        with torch.nn.utils.stateless._reparametrize_module(D.network, {"0.weight": W}):
            return D.normalize(update=False)["0.weight"].square().sum()

    assert torch.autograd.gradgradcheck(loss, layer.weight)


class TextbookSpectralNorm(nn.Module):
    """The widespread teaching example: `weight.data` is reassigned in each forward."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer = layer
        self.u = torch.randn(len(layer.weight), dtype=layer.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        W = self.layer.weight.data
        for _ in range(50):
            v = nn.functional.normalize(W.T @ self.u, dim=0)
            self.u = nn.functional.normalize(W @ v, dim=0)
        self.layer.weight.data = W / (self.u @ W @ v)
        return self.layer(x)


def test_the_textbook_form_would_fail_these_tests() -> None:
    """It rescales the parameter itself, and its gradient lacks the part that goes through sigma."""
    layer = nn.Linear(5, 4).double()
    before = layer.weight.detach().clone()
    x = torch.randn(3, 5, dtype=torch.float64)
    right = SpectralNorm(nn.Sequential(copy.deepcopy(layer)))
    right.vectors.advance(500)
    (expected,) = torch.autograd.grad(right.eval()(x).square().sum(), right.network[0].weight)
    wrong = TextbookSpectralNorm(layer)
    output = wrong(x)
    torch.testing.assert_close(output, right(x), rtol=1e-4, atol=1e-4)  # the same function ...
    (gradient,) = torch.autograd.grad(output.square().sum(), layer.weight)
    assert not torch.allclose(layer.weight, before)  # ... of another parameter,
    along = (expected * before).sum()
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-10)  # W / sigma does not depend on the scale of W,
    assert (gradient * layer.weight).sum().abs() > 1e-2  # which the wrong gradient does not know


@pytest.mark.parametrize("scale", [1.0, "learned"])
@pytest.mark.parametrize("make", [lambda: nn.MultiheadAttention(6, 2), lambda: nn.Linear(6, 6)])
def test_a_layer_alone_is_a_network_too(make: Callable[[], nn.Module], scale: float | str) -> None:
    """With Q, K and V each at sigma 1, or at its gamma."""
    D = SpectralNorm(make().double(), scale=scale).eval()
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    inputs = (x, x, x) if isinstance(D.network, nn.MultiheadAttention) else (x,)
    for ours, plain in zip(D(*inputs), bake(D)(*inputs), strict=True):
        torch.testing.assert_close(ours, plain)
    assert bake(D).state_dict().keys() == make().state_dict().keys()
