from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm as torch_spectral_norm
from torch.utils.checkpoint import checkpoint

from sngan.errors import UserError
from sngan.layers import normalized_weight
from sngan.layers.in_place import remove_spectral_norm, spectral_norm
from sngan.layers.linear_maps import Convolution, Matrices
from sngan.layers.normalized_weight import NormalizedWeight
from sngan.layers.spectral_norm import SpectralNorm, converge

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv1d": lambda: nn.Conv1d(3, 4, 5),
    "conv2d": lambda: nn.Conv2d(3, 8, 3),
    "conv3d": lambda: nn.Conv3d(2, 3, 2),
    "transposed": lambda: nn.ConvTranspose2d(5, 7, 4),
    "grouped": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed_in_groups": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
    "linear": lambda: nn.Linear(10, 4),
    "embedding": lambda: nn.Embedding(6, 9),
    "bag": lambda: nn.EmbeddingBag(6, 9),
    "bilinear": lambda: nn.Bilinear(3, 4, 5),
}


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(8 * 4 * 4, 3), nn.Linear(3, 2)).to(dtype)


def images(n: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 3, 6, 6, dtype=dtype)


def entry(layer: Any, name: str = "weight") -> NormalizedWeight:
    return layer.parametrizations[name][0]


@pytest.fixture
def batched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of GPUs, all weights together, on this CPU."""
    monkeypatch.setattr(normalized_weight, "LAYER_BY_LAYER_ON", frozenset())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_used_at_norm_one(kind: str) -> None:
    layer = LAYERS[kind]().double()
    assert spectral_norm(layer, tolerance=1e-9) is layer
    W = layer.weight
    assert isinstance(layer.parametrizations.weight.original, nn.Parameter)
    matrix = W.transpose(0, 1) if "transposed" in kind else W
    assert torch.linalg.matrix_norm(matrix.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "bag"])
def test_a_state_dict_of_torch_gives_the_same_layer_and_ours_loads_into_torch(kind: str) -> None:
    ours, theirs = spectral_norm(LAYERS[kind]().double()), torch_spectral_norm(LAYERS[kind]().double())
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours.eval().weight, theirs.eval().weight, rtol=1e-12, atol=1e-12)
    again = torch_spectral_norm(LAYERS[kind]().double())
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again.eval().weight, theirs.weight)


@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
def test_a_state_dict_of_the_old_form_of_torch_gives_the_same_network() -> None:
    theirs = network()
    for i in (0, 3, 4):
        nn.utils.spectral_norm(theirs[i])
    ours = spectral_norm(network())
    ours.load_state_dict(theirs.state_dict())
    x = images()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
def test_equals_the_old_form_of_torch_over_50_optimiser_steps() -> None:
    """Which has the paper's order: one forward an update, from the same state."""
    theirs = network()
    for i in (0, 3, 4):
        nn.utils.spectral_norm(theirs[i])
    ours = spectral_norm(network())
    ours.load_state_dict(theirs.state_dict())
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-2) for net in (ours, theirs)]
    for _ in range(50):
        x = images(4)
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours[3].parametrizations.weight.original, theirs[3].weight_orig, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_equals_the_wrapper_that_the_trainer_uses_over_optimiser_steps(
    fused: bool, together: bool, request: pytest.FixtureRequest
) -> None:
    """With two forwards an update, and an optimiser whose changes autograd does not count."""
    if together:
        request.getfixturevalue("batched")
    plain = network()
    ours, wrapper = spectral_norm(copy.deepcopy(plain)), SpectralNorm(plain)
    for i in (0, 3, 4):
        weight = wrapper.vectors.weights[str(i)]
        order = Matrices().unmatrix(torch.arange(weight.W.numel()).view(len(weight.W), -1), weight.W.shape)
        columns = weight.map.matrix(order)[0]  # where the wrapper's columns are in torch's order
        entry(ours[i])._u.copy_(weight.u)
        entry(ours[i])._v[columns] = weight.v
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-2, fused=fused) for net in (ours, wrapper)]
    for _ in range(20):
        x = images(4)
        ours_loss = (ours(x) - ours(x + 1)).square().mean()
        weights = wrapper.normalize(update=True)
        wrapper_loss = (wrapper(x, weights=weights) - wrapper(x + 1, weights=weights)).square().mean()
        for loss, optimizer in zip((ours_loss, wrapper_loss), optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(ours[3].parametrizations.weight.original, plain[3].weight, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(entry(ours[0])._u, plain[0].u, rtol=1e-9, atol=1e-11)


def advances(net: nn.Module, act: Callable[[], Any]) -> bool:
    before = [m._u.clone() for m in net.modules() if isinstance(m, NormalizedWeight)]
    act()
    after = [m._u for m in net.modules() if isinstance(m, NormalizedWeight)]
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(moved) or not any(moved), "some weights advanced alone"
    return all(moved)


def away_from_convergence(net: nn.Module) -> None:
    """u and v as far as they are for weights that have moved, so that each iteration shows."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, NormalizedWeight):
                module._u.normal_()
                module._u.div_(module.map.length(module._u))


def test_all_weights_advance_once_for_each_version_of_them() -> None:
    net = spectral_norm(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)).double())
    x = torch.randn(3, 6, dtype=torch.float64)
    away_from_convergence(net)
    assert advances(net, lambda: net(x))
    assert not advances(net, lambda: net(x))
    net(x).sum().backward()
    assert not advances(net, lambda: net(x)), "a second backward of one update"
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert advances(net, lambda: net[0].weight), "one use advances all"
    assert not advances(net, lambda: net(x))


@pytest.mark.parametrize("change", ["data", "fused", "set_data", "load"])
def test_a_change_that_autograd_does_not_count_is_noticed(change: str) -> None:
    net = spectral_norm(nn.Sequential(nn.Linear(6, 6)).double())
    x = torch.randn(3, 6, dtype=torch.float64)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5, fused=True)
    net(x).square().sum().backward()
    W = net[0].parametrizations.weight.original
    match change:
        case "data":
            W.data.mul_(torch.rand(6, 6, dtype=torch.float64))
        case "fused":
            optimizer.step()
        case "set_data":
            W.data = torch.randn(6, 6, dtype=torch.float64)
        case "load":
            net.load_state_dict(spectral_norm(nn.Sequential(nn.Linear(6, 6)).double()).state_dict())
    away_from_convergence(net)
    expected = entry(net[0])
    used = net[0].weight
    torch.testing.assert_close(used, W / (expected._u @ W @ expected._v), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(expected._u, nn.functional.normalize(W @ expected._v, dim=0), rtol=1e-12, atol=1e-12)


def test_a_graph_keeps_the_u_and_v_of_its_version() -> None:
    layer = spectral_norm(nn.Linear(4, 5).double())
    layer.weight.sum().backward()
    W, shared = layer.parametrizations.weight.original, layer.weight
    g = torch.randn_like(shared)
    (expected,) = torch.autograd.grad(shared, W, g, retain_graph=True)
    W.data.copy_(torch.randn(5, 4, dtype=torch.float64))
    u = entry(layer)._u.clone()
    assert not torch.equal(layer.weight, shared)
    assert not torch.equal(entry(layer)._u, u)
    assert torch.equal(torch.autograd.grad(shared, W, g)[0], expected)


def test_what_is_shared_cannot_be_spoilt() -> None:
    """An edit of the computed weight in place is lost, as in torch."""
    layer = spectral_norm(nn.Linear(4, 4))
    expected = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.mul_(7.0)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=0.1, atol=0.1)


def test_an_assigned_weight_is_w() -> None:
    layer = spectral_norm(nn.Linear(4, 5))
    layer.weight = 3 * torch.eye(5, 4)
    assert torch.equal(layer.parametrizations.weight.original, 3 * torch.eye(5, 4))
    torch.testing.assert_close(layer.weight, torch.eye(5, 4))


def test_evaluation_mode_changes_nothing_and_training_mode_is_per_layer() -> None:
    net = spectral_norm(network())
    away_from_convergence(net)
    net.eval()
    before = copy.deepcopy(net.state_dict())
    net(images())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net[0].train()
    net(images())
    assert not torch.equal(entry(net[0])._u, before["0.parametrizations.weight.0._u"])
    assert torch.equal(entry(net[3])._u, before["3.parametrizations.weight.0._u"])


def test_iterate_per_forward_is_the_way_of_torch() -> None:
    layer = spectral_norm(nn.Linear(6, 6).double(), iterate_per="forward")
    away_from_convergence(layer)
    assert advances(layer, lambda: layer.weight)
    assert advances(layer, lambda: layer.weight)


def test_two_losses_may_go_backward_one_after_the_other() -> None:
    net = spectral_norm(network())
    x = images()
    net(x).mean().backward()
    net(x + 1).mean().backward()
    apart = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    (net(x).mean() + net(x + 1).mean()).backward()
    for a, p in zip(apart, net.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)


def test_the_gradient_is_that_of_w_over_sigma_with_u_and_v_constant() -> None:
    for options in (
        {},
        {"blocks": 2},
        {"scale": 3.0},
        {"scale": "learned"},
        {"scale": 0.1, "capped": True},
        {"norm": "map", "size": (5, 5)},
    ):
        layer = spectral_norm(nn.Conv2d(4, 6, 3, groups=2).double(), **options)
        shared, plain = layer.weight, layer.eval().weight
        g = torch.randn_like(plain)
        parameters = list(layer.parametrizations.parameters())
        found = torch.autograd.grad(shared, parameters, g)
        for a, b in zip(found, torch.autograd.grad(plain, parameters, g), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"blocks": 2}, {"norm": "map", "size": (4, 4)}], ids=["matrix", "blocks", "map"])
def test_first_and_second_derivatives_equal_finite_differences(options: dict[str, Any], training: bool) -> None:
    layer = spectral_norm(nn.Conv2d(2, 2, 2).double(), **options).train(training)
    converge(entry(layer), 1e-14, most=5000)  # so that a version of W more does not change u and v

    def loss(W: Tensor) -> Tensor:
        with torch.no_grad():
            layer.parametrizations.weight.original.copy_(W)
        used = layer.weight
        return used.square().sum() if W.requires_grad is False else used

    W = layer.parametrizations.weight.original
    g = torch.randn_like(W)
    (first,) = torch.autograd.grad((layer.weight * g).sin().sum(), W, create_graph=True)
    (second,) = torch.autograd.grad((first * g).sum(), W)

    def definition(W: Tensor) -> Tensor:
        A, u, v = entry(layer).map, entry(layer)._u.clone(), entry(layer)._v.clone()
        sigma = A.inner(u, A.forward(W, v))
        shape = (-1, *[1] * W.dim())
        return (W.unflatten(0, (A.blocks, -1)) / sigma.view(shape)).flatten(0, 1)

    x = W.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(definition, x)
    assert torch.autograd.gradgradcheck(definition, x)
    (expected,) = torch.autograd.grad((definition(x) * g).sin().sum(), x, create_graph=True)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, torch.autograd.grad((expected * g).sum(), x)[0])


def test_a_gradient_penalty_equals_finite_differences() -> None:
    net = spectral_norm(network())
    x = images().requires_grad_()

    def penalty() -> Tensor:
        (gradient,) = torch.autograd.grad(net(x).tanh().sum(), x, create_graph=True)
        return gradient.square().sum()

    net.eval()  # u and v stay, so that a difference is of W alone
    W = net[3].parametrizations.weight.original
    for training in (False, True):
        net.train(training)
        penalty().backward()
        found, W.grad = W.grad[0, 5].item(), None
        net.eval()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                W[0, 5] += sign * 1e-6
            values.append(penalty().item())
            with torch.no_grad():
                W[0, 5] -= sign * 1e-6
        if not training:
            assert found == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)
            expected = found
    assert found == pytest.approx(expected, rel=0.2)  # u and v have advanced once


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # torch's own, on the first use of jvp
def test_transforms_of_torch_func_see_u_and_v_as_constants() -> None:
    net = spectral_norm(network())
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    x = images(3)

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(net, parameters, (x[None],)).square().sum()

    net.train()
    assert not advances(net, lambda: torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x))
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    net.eval()
    net(x).square().sum().backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(each[name].sum(0), p.grad)
    tangents = {name: torch.randn_like(p) for name, p in parameters.items()}
    _, slope = torch.func.jvp(lambda p: loss(p, x[0]), (parameters,), (tangents,))
    expected = sum((each[name][0] * tangent).sum() for name, tangent in tangents.items())
    torch.testing.assert_close(slope, expected)


def test_copies_and_pickles_are_the_same_and_apart() -> None:
    net = spectral_norm(network())
    x = images()
    net(x).mean().backward()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin.eval()(x), net.eval()(x))
        assert twin.state_dict().keys() == net.state_dict().keys()
        twin.train()
        with torch.no_grad():
            for p in twin.parameters():
                p.mul_(torch.rand_like(p))
        assert not advances(net, lambda twin=twin: twin(x))
        twin(x)
        assert len({id(m.bank) for m in twin.modules() if isinstance(m, NormalizedWeight)}) == 1
        with torch.no_grad():
            for p in twin.parameters():
                p.mul_(torch.rand_like(p))
        assert advances(twin, lambda twin=twin: twin[4].weight), "a copy's weights advance together"
    part = copy.deepcopy(net[3])
    part(torch.randn(2, 128, dtype=torch.float64))


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing_gives_the_same_gradients(use_reentrant: bool) -> None:
    """The forward that is run again in the backward pass must see the u and v of the first."""
    net = spectral_norm(network())
    away_from_convergence(net)
    twin = copy.deepcopy(net)
    x = images().requires_grad_()
    net(x).square().sum().backward()
    checkpoint(twin, x, use_reentrant=use_reentrant).square().sum().backward()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-12)
    assert torch.equal(entry(net[3])._u, entry(twin[3])._u)


def test_arithmetic_is_float32_under_autocast() -> None:
    layer = spectral_norm(nn.Linear(10, 10))
    plain = layer.weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.weight, plain)
        assert layer(torch.randn(2, 10)).dtype == torch.bfloat16
        layer.weight.sum().backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_compiled_and_exported_code_gives_the_same_numbers() -> None:
    net = spectral_norm(network(torch.float32))
    twin = copy.deepcopy(net)
    x = images(dtype=torch.float32)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x))
    torch.testing.assert_close(entry(twin[3])._u, entry(net[3])._u)
    net.eval()
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), net(x))
    torch.testing.assert_close(torch.jit.trace(net, (x,))(x), net(x))


def test_hooks_and_indexing_survive_and_removal_leaves_plain_layers() -> None:
    net = network()
    seen = []
    net[3].register_forward_hook(lambda *_: seen.append(1))
    plain = copy.deepcopy(net)
    spectral_norm(net)
    x = images()
    net(x)
    assert seen == [1]
    net.eval()
    expected, W = net(x), net[3].parametrizations.weight.original.detach().clone()
    twin = copy.deepcopy(net)
    remove_spectral_norm(net)
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert type(net[3]) is nn.Linear
    torch.testing.assert_close(net(x), expected)
    remove_spectral_norm(twin, keep="original")
    assert torch.equal(twin[3].weight, W)
    parametrize.remove_parametrizations(spectral_norm(net)[0], "weight")
    assert type(net[0]) is nn.Conv2d


def test_attention_has_a_norm_for_each_of_q_k_and_v_and_what_is_left_is_named() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).double()
    with pytest.warns(UserWarning, match=r"leaves as they are: norm1.weight \[8\], norm2.weight \[8\]$"):
        spectral_norm(layer, tolerance=1e-9)
    for block in layer.self_attn.in_proj_weight.chunk(3):
        assert torch.linalg.matrix_norm(block, 2).item() == pytest.approx(1.0, abs=1e-8)
    for weight in (layer.self_attn.out_proj.weight, layer.linear1.weight, layer.linear2.weight):
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1.0, abs=1e-8)
    layer(torch.randn(2, 3, 8, dtype=torch.float64))[..., 0].sum().backward()
    assert layer.self_attn.parametrizations.in_proj_weight.original.grad.any()


def test_attention_of_torch_with_one_norm_for_q_k_and_v_loads() -> None:
    theirs = nn.MultiheadAttention(6, 2).double()
    torch_spectral_norm(theirs, "in_proj_weight")
    ours = spectral_norm(nn.MultiheadAttention(6, 2).double(), "in_proj_weight")
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.parametrizations.in_proj_weight.original, theirs.parametrizations.in_proj_weight.original)
    for block in ours.eval().in_proj_weight.chunk(3):
        assert torch.linalg.matrix_norm(block, 2).item() == pytest.approx(1.0, abs=0.02)
    one = spectral_norm(nn.MultiheadAttention(6, 2).double(), "in_proj_weight", blocks=1)
    one.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(one.eval().in_proj_weight, theirs.eval().in_proj_weight)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_run_with_their_normalised_weights(make: type[nn.RNNBase]) -> None:
    layer = spectral_norm(make(3, 4, 2).double(), tolerance=1e-9)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for net in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        output, _ = net(x)
        output.sum().backward()
        assert net.parametrizations.weight_hh_l0.original.grad.any()
        plain = remove_spectral_norm(copy.deepcopy(net))
        assert torch.linalg.matrix_norm(plain.weight_hh_l1, 2).item() == pytest.approx(1.0, abs=1e-8)
        torch.testing.assert_close(plain(x)[0], output, rtol=1e-6, atol=1e-6)


def test_a_parameter_of_ones_own_is_normalised_by_name() -> None:
    class Bank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.Parameter(torch.randn(5, 3))
            self.head = nn.Linear(3, 2)

    net = Bank()
    with pytest.warns(UserWarning, match=r"leaves as they are: memory \[5, 3\]"):
        spectral_norm(net)
    spectral_norm(net, "memory", tolerance=1e-6)
    assert torch.linalg.matrix_norm(net.memory, 2).item() == pytest.approx(1.0, abs=1e-5)
    spectral_norm(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), exclude=["1"])  # what is excluded is not warned of


def test_a_learned_scale_is_sigma_reparametrisation() -> None:
    """W_hat = gamma / sigma(W) W with a trained gamma that starts at sigma, so that the layer starts as it was (Zhai et al. 2023)."""
    plain = nn.Linear(6, 6).double()
    layer = spectral_norm(copy.deepcopy(plain), scale="learned")
    torch.testing.assert_close(layer.eval().weight, plain.weight)
    W, gamma = (p.detach().clone().requires_grad_() for p in (plain.weight, entry(layer).gamma))
    u, v = entry(layer)._u, entry(layer)._v
    x = torch.randn(3, 6, dtype=torch.float64)
    reparametrised = nn.functional.linear(x, gamma * W / torch.einsum("o,oi,i->", u, W, v), plain.bias)
    expected = torch.autograd.grad(reparametrised.square().sum(), (W, gamma))
    found = torch.autograd.grad(layer(x).square().sum(), (layer.parametrizations.weight.original, entry(layer).gamma))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_capped_weight_is_itself_up_to_the_cap() -> None:
    layer = spectral_norm(nn.Linear(6, 6).double(), scale=1e3, capped=True)
    assert torch.equal(layer.weight, layer.parametrizations.weight.original)
    layer = spectral_norm(nn.Linear(6, 6).double(), scale=0.1, capped=True, tolerance=1e-9)
    assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(0.1, abs=1e-8)


def test_a_map_has_the_norm_of_the_layer_at_the_size_that_it_meets() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, stride=2), nn.ConvTranspose2d(3, 2, 4, 2, 1), nn.Flatten(), nn.Linear(72, 2)
    ).double()
    spectral_norm(net, norm="map", tolerance=1e-8)
    with pytest.raises(UserError, match="has met no input yet"):
        _ = net[0].weight
    for side in (6, 6):
        net(torch.randn(2, 2, side, side, dtype=torch.float64))
        for i, size in ((0, (6, 6)), (1, (3, 3))):
            assert entry(net[i]).map.size == size
            inputs = net[i].in_channels * size[0] * size[1]
            basis = torch.eye(inputs, dtype=torch.float64).view(inputs, -1, *size)
            dense = (net[i](basis) - net[i].bias.view(1, -1, 1, 1)).flatten(1)
            assert torch.linalg.matrix_norm(dense, 2).item() == pytest.approx(1.0, abs=1e-6)
    loaded = spectral_norm(copy.deepcopy(remove_spectral_norm(copy.deepcopy(net))), norm="map")
    loaded.load_state_dict(net.state_dict())
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(loaded.eval()(x), net.eval()(x))


def test_a_map_follows_another_size() -> None:
    layer = spectral_norm(nn.Conv2d(2, 2, 3, padding=1).double(), norm="map", scale="learned")
    layer(torch.randn(1, 2, 4, 4, dtype=torch.float64))
    gamma = entry(layer).gamma.item()
    layer(torch.randn(1, 2, 8, 8, dtype=torch.float64))
    assert isinstance(entry(layer).map, Convolution)
    assert entry(layer).map.size == (8, 8)
    assert entry(layer).gamma.item() == gamma > 0


def test_a_tolerance_is_kept_whatever_happens_to_the_weight() -> None:
    layer = spectral_norm(nn.Linear(30, 20).double(), tolerance=1e-4)
    for _ in range(3):
        with torch.no_grad():
            layer.parametrizations.weight.original.normal_()
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1.0, abs=1e-3)


def test_building_takes_no_global_random_number_and_meta_weights_wait() -> None:
    net = network()
    before = torch.get_rng_state()
    spectral_norm(net)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.device("meta"):
        layer = spectral_norm(nn.Linear(4, 3))
    layer.to_empty(device="cpu").load_state_dict(spectral_norm(nn.Linear(4, 3)).state_dict())
    assert torch.linalg.matrix_norm(layer.eval().weight, 2).item() == pytest.approx(1.0, abs=0.02)


def test_a_frozen_weight_is_used_at_norm_one() -> None:
    layer = nn.Linear(4, 3).requires_grad_(False)
    spectral_norm(layer)
    assert not layer.weight.requires_grad
    x = torch.randn(2, 4, requires_grad=True)
    layer(x).sum().backward()
    assert layer.parametrizations.weight.original.grad is None


def test_a_vector_is_used_at_length_one_as_in_torch() -> None:
    ours, theirs = nn.LayerNorm(4).double(), nn.LayerNorm(4).double()
    spectral_norm(ours, "weight")
    torch_spectral_norm(theirs, "weight")
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours.weight, theirs.weight)
    assert type(remove_spectral_norm(ours)) is nn.LayerNorm


def test_complex_weights_and_other_dimensions_are_normalised_as_in_torch() -> None:
    for W, dim in ((torch.randn(4, 3, dtype=torch.complex128), 0), (torch.randn(4, 3, 5, dtype=torch.float64), 2)):
        ours, theirs = nn.Module(), nn.Module()
        ours.W, theirs.W = nn.Parameter(W), nn.Parameter(W.clone())
        spectral_norm(ours, "W", dim=dim)
        torch_spectral_norm(theirs, "W", dim=dim)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours.eval().W, theirs.eval().W)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: spectral_norm(nn.Linear(2, 2), "wieght"), "Linear has no parameter wieght; its own are weight, bias"),
        (lambda: spectral_norm(spectral_norm(nn.Linear(2, 2))), "weight is spectrally normalised already"),
        (lambda: spectral_norm(nn.Linear(2, 2), n_power_iterations=0), "n_power_iterations=0: it must be 1 or more"),
        (lambda: spectral_norm(nn.Linear(2, 2), blocks=3), "cannot be split into 3 blocks"),
        (lambda: spectral_norm(nn.Linear(2, 2), scale="learned", capped=True), "a learned scale has no cap"),
        (lambda: spectral_norm(nn.Linear(2, 2), norm="rows"), "norm=rows"),
        (lambda: spectral_norm(nn.Linear(2, 2), scale="learnt"), "scale=learnt: give a number, or learned"),
        (lambda: spectral_norm(nn.Linear(2, 2), tolerance=0.0), "tolerance=0.0: it must be above 0"),
        (lambda: spectral_norm(nn.Conv2d(2, 2, 2), size=(4, 4)), "means something with norm=map alone"),
        (lambda: spectral_norm(nn.ReLU()), "ReLU has no weight to normalise"),
        (
            lambda: spectral_norm(nn.Sequential(nn.Linear(2, 2)), exclude=["1"]),
            "exclude=1: no layer has this name; the layers are 0",
        ),
        (lambda: spectral_norm(nn.LazyLinear(2)), "weight has no shape yet"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[], Any], words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(UserError, match=words):
            act()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_weight_without_a_norm_is_refused(value: float) -> None:
    net = network()
    nn.init.constant_(net[3].weight, value)
    with pytest.raises(UserError, match=r"3\.weight is zero or not finite"):
        spectral_norm(net)
    assert type(net[0]) is nn.Conv2d, "nothing was half done"
