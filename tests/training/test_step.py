from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import composed
from sngan import Config, build
from sngan.data.images import ImageSpec
from sngan.layers import spectral_norm
from sngan.layers.normalized import Normalized
from sngan.networks import build_networks
from sngan.optimizer import trained
from sngan.regularizers.regularizer import Batch, Logits
from sngan.state import TrainState, initial_state
from sngan.training.step import Game, Inputs, train_step, update_average, update_discriminator, update_generator

CPU = torch.device("cpu")
SPEC = ImageSpec(32, 3, 0)


@pytest.fixture
def state(tiny: Callable[..., Config]) -> TrainState:
    config = tiny()
    return initial_state(config, *build_networks(config, SPEC), CPU)


@pytest.fixture
def game(tiny: Callable[..., Config]) -> Game:
    return Game(build("loss", tiny().loss), None, None, ema_decay=0.9)


def inputs(d_steps: int = 2, n: int = 4, m: int = 6, z: int = 128, dtype: torch.dtype = torch.float32) -> Inputs:
    x_real, z_D, epsilon = torch.rand(d_steps, n, 3, 32, 32) * 2 - 1, torch.randn(d_steps, n, z), torch.rand(d_steps, n)
    return Inputs(x_real.to(dtype), None, z_D.to(dtype), None, epsilon.to(dtype), torch.randn(m, z).to(dtype), None)


def batch(state: TrainState) -> Batch:
    """The inputs of one discriminator update."""
    data = inputs()
    with torch.no_grad():
        x_fake = copy.deepcopy(state.G)(data.z_D[0].to(next(state.G.parameters()).dtype))
    return Batch(data.x_real[0].to(x_fake), None, x_fake, None, data.epsilon[0].to(x_fake))


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def moved(before: dict[str, Tensor], network: torch.nn.Module) -> list[str]:
    return [name for name, p in network.named_parameters() if not torch.equal(before[name], p)]


def test_discriminator_update_moves_every_weight_of_d_and_none_of_g(state: TrainState, game: Game) -> None:
    G, D = weights(state.G), weights(state.D)
    update_discriminator(state, game, batch(state))
    assert moved(G, state.G) == []
    # a bias before the hinge gets -1 from the real and +1 from the fake, which cancel at the start
    assert {name for name in D if name.endswith("weight")} <= set(moved(D, state.D))


def test_generator_update_moves_every_weight_of_g_and_nothing_of_d(state: TrainState, game: Game) -> None:
    G, D = weights(state.G), {name: value.clone() for name, value in state.D.state_dict().items()}
    update_generator(state, game, {}, torch.randn(6, 128), None)
    # a bias before batch norm has no effect, but rounding moves it; the weights all move
    assert {name for name in G if name.endswith("weight")} <= set(moved(G, state.G))
    assert all(torch.equal(value, D[name]) for name, value in state.D.state_dict().items())  # u and v among them


def test_no_gradient_is_left_behind(state: TrainState, game: Game) -> None:
    train_step(state, game, inputs())
    assert all(p.grad is None for network in (state.G, state.D) for p in network.parameters())


def test_u_and_v_make_one_iteration_per_discriminator_update(
    state: TrainState, game: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, and made; the textbook loop below holds u and v themselves."""
    calls = []
    normalize = type(state.D).normalize

    def counted(self: object, *, update: bool) -> dict[str, Tensor]:
        calls.append(update)
        return normalize(self, update=update)

    monkeypatch.setattr(type(state.D), "normalize", counted)
    train_step(state, game, inputs(d_steps=5))
    assert calls == [True] * 5 + [False]


def test_one_forward_for_real_and_fake_equals_two(state: TrainState, game: Game) -> None:
    other = copy.deepcopy(state.D).double()
    state.D.double()
    state.G.double()
    seen = batch(state)
    stats = update_discriminator(state, game, seen)
    normalized = other.normalize(update=True)
    expected = game.loss.discriminator(other(seen.x_real, weights=normalized), other(seen.x_fake, weights=normalized))
    torch.testing.assert_close(stats["D_loss"], expected.detach(), rtol=1e-10, atol=1e-12)


def plain_copy(network: Normalized, optimizer: torch.optim.Optimizer) -> tuple[Normalized, torch.optim.Adam]:
    """The network with all weights in the order of their indices, and Adam as a loop of elementary operations: nothing to permute."""
    network = copy.deepcopy(network)
    for p in network.parameters():
        p.data = p.data.contiguous()
    rate, betas = float(optimizer.param_groups[0]["lr"]), optimizer.param_groups[0]["betas"]
    return network, torch.optim.Adam(trained(network), lr=rate, betas=betas, foreach=False, fused=False)


def assert_same(ours: Normalized, theirs: Normalized) -> None:
    """The same weights, statistics, u and v: an update is 1e-3, so that four of its digits are compared."""
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7, msg=lambda said, name=name: f"{name}: {said}")


def textbook_step(
    G: Normalized, D: Normalized, optimizers: tuple[torch.optim.Adam, torch.optim.Adam], game: Game, data: Inputs
) -> dict[str, list[Tensor]]:
    """Algorithm 1 in the usual alternation as one would write it down, each discriminator update with fakes of its own; all values by name."""
    said = collections.defaultdict(list)
    G_optimizer, D_optimizer = optimizers
    G_weights = G.normalize(update=True)  # of the whole step, at whose end G moves
    for i in range(len(data.x_real)):
        y_real, y_fake = (None if y is None else y[i] for y in (data.y_real, data.y_D))
        x_fake = G(data.z_D[i], y_fake, weights=G_weights).detach()
        normalized = D.normalize(update=True)
        real_logits = D(data.x_real[i], y_real, weights=normalized)
        fake_logits = D(x_fake, y_fake, weights=normalized)
        loss = game.loss.discriminator(real_logits, fake_logits)
        values = {"D_loss": loss, "real_logits": real_logits.mean(), "fake_logits": fake_logits.mean()}
        if game.regularizer:
            values["penalty"] = game.regularizer(
                D, normalized, Batch(data.x_real[i], y_real, x_fake, y_fake, data.epsilon[i]), Logits(real_logits, fake_logits)
            )
        D_optimizer.zero_grad()
        (loss + values.get("penalty", 0.0)).backward()
        D_optimizer.step()
        if game.weight_clip:
            for p in D.parameters():
                p.data.clamp_(-game.weight_clip, game.weight_clip)
        for name, value in values.items():
            said[name].append(value.detach())
    G_optimizer.zero_grad()
    x_fake = G(data.z_G, data.y_G, weights=G_weights)
    G_loss = game.loss.generator(D(x_fake, data.y_G, weights=D.normalize(update=False)))
    G_loss.backward()
    G_optimizer.step()
    return {**said, "G_loss": [G_loss.detach()]}


CONDITIONAL = [
    "conditional=true", "generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet",
    "discriminator.widths=[8,8]", "discriminator.downsample=[true,true]",
]  # fmt: skip
GAMES = {
    "spectral": [],
    "bce": ["loss=bce", "optimizer.betas=[0.5,0.999]"],
    "conditional": CONDITIONAL,
    "conditional WGAN-GP": [*CONDITIONAL, "loss=wasserstein", "discriminator.normalization=layer", "regularizer=gradient_penalty"],
    "conditional R1": [*CONDITIONAL, "discriminator.normalization=none", "regularizer=r1"],
    "conditional batch norm": [*CONDITIONAL, "discriminator.normalization=batch"],
    "clipped": ["loss=wasserstein", "discriminator.normalization=none", "weight_clip=0.01"],
    "spectral generator": ["generator.normalization=spectral", "discriminator.normalization=weight"],
}


@pytest.mark.parametrize("kind", GAMES)
def test_two_steps_equal_the_textbook_loop(tiny: Callable[..., Config], kind: str) -> None:
    """In float64, where no gradient is rounding alone: Adam's first steps divide by the gradient's own size."""
    state, game = of(tiny, *GAMES[kind], dtype=torch.float64)
    (G, G_optimizer), (D, D_optimizer) = plain_copy(state.G, state.G_optimizer), plain_copy(state.D, state.D_optimizer)
    for _ in range(2):
        data = inputs(d_steps=3, dtype=torch.float64)
        if "conditional=true" in GAMES[kind]:
            labels = [torch.randint(10, shape) for shape in ((3, 4), (3, 4), (6,))]
            data = data._replace(**dict(zip(("y_real", "y_D", "y_G"), labels, strict=True)))
        averaged = weights(state.G_ema)
        said = textbook_step(G, D, (G_optimizer, D_optimizer), game, data)
        stats = train_step(state, game, data)
        assert stats.keys() == said.keys()
        for name, values in said.items():
            torch.testing.assert_close(stats[name], torch.stack(values).mean(), rtol=1e-5, atol=1e-6, msg=name)
        assert_same(state.D, D)
        assert_same(state.G, G)
        for (name, average), current in zip(state.G_ema.named_parameters(), G.parameters(), strict=True):
            torch.testing.assert_close(average, game.ema_decay * averaged[name] + (1 - game.ema_decay) * current)


def test_average_is_a_lerp_of_weights_and_a_copy_of_statistics(state: TrainState, game: Game) -> None:
    before = weights(state.G_ema)
    update_generator(state, game, {}, torch.randn(6, 128), None)
    update_average(state, 0.9)
    for (name, averaged), current in zip(state.G_ema.named_parameters(), state.G.parameters(), strict=True):
        torch.testing.assert_close(averaged, 0.9 * before[name] + 0.1 * current)
    for averaged, current in zip(state.G_ema.buffers(), state.G.buffers(), strict=True):
        assert torch.equal(averaged, current)


def test_decay_0_is_the_generator_itself(state: TrainState, game: Game) -> None:
    train_step(state, game._replace(ema_decay=0.0), inputs())
    assert all(torch.equal(a, b) for a, b in zip(state.G_ema.parameters(), state.G.parameters(), strict=True))


def test_statistics_are_scalar_tensors_without_graph(state: TrainState, game: Game) -> None:
    stats = train_step(state, game, inputs())
    assert stats.keys() == {"D_loss", "G_loss", "real_logits", "fake_logits"}
    assert all(value.dim() == 0 and not value.requires_grad for value in stats.values())


class RefuseSynchronisation(TorchDispatchMode):
    """Raises where the device would have to be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


def test_no_tensor_becomes_a_python_number_in_a_step(state: TrainState, game: Game) -> None:
    data = inputs()
    with RefuseSynchronisation():
        train_step(state, game, data)


def test_conditional_labels_reach_both_networks(tiny: Callable[..., Config], game: Game) -> None:
    config = tiny(*CONDITIONAL)
    state = initial_state(config, *build_networks(config, ImageSpec(32, 3, 10)), CPU)
    embedding = state.D.network.embedding.weight.detach().clone()
    data = inputs()
    y_real, y_fake = torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.int64)
    train_step(state, game, data._replace(y_real=y_real, y_D=y_fake, y_G=torch.full((6,), 2)))
    gamma = state.G.network.blocks[0].norm1.gamma
    assert not torch.equal(state.D.network.embedding.weight, embedding)
    assert torch.equal(gamma[3:], torch.ones_like(gamma[3:]))
    assert not torch.equal(gamma[2], torch.ones_like(gamma[2]))


def of(tiny: Callable[..., Config], *overrides: str, dtype: torch.dtype = torch.float32) -> tuple[TrainState, Game]:
    """The state and the game that a config describes."""
    config = tiny("discriminator=cnn", *overrides)
    networks = build_networks(config, dataclasses.replace(SPEC, n_classes=10 if config.conditional else 0))
    state = initial_state(config, *(network.to(dtype) for network in networks), CPU)
    return state, Game(build("loss", config.loss), build("regularizer", config.regularizer), config.weight_clip, config.ema.decay)


def iterations(state: TrainState, network: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many power iterations each call of the next step makes, as a list that fills; they are made."""
    vectors, made = getattr(state, network).vectors, []
    divided = vectors.divided
    monkeypatch.setattr(vectors, "divided", lambda *, iterations=0: made.append(iterations) or divided(iterations=iterations))
    return made


def test_an_iteration_per_forward_makes_the_11_of_the_author_code(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, game = of(tiny, "discriminator.iterate_per=forward")
    made = iterations(state, "D", monkeypatch)
    train_step(state, game, inputs(d_steps=5))
    assert made == [1] * 11


def test_more_power_iterations_are_made_at_each_update(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    state, game = of(tiny, "discriminator.power_iterations=3")
    made = iterations(state, "D", monkeypatch)
    train_step(state, game, inputs(d_steps=2))
    assert made == [3, 3, 0]


def test_spectral_norm_in_g_iterates_once_per_generator_update(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, game = of(tiny, "generator.normalization=spectral")
    made = iterations(state, "G", monkeypatch)
    train_step(state, game, inputs(d_steps=5))
    assert made == [1]


def test_the_averaged_generator_follows_the_sigma_of_its_own_weights(tiny: Callable[..., Config]) -> None:
    """Its u and v make an iteration of their own, and are not those of G."""
    state, game = of(tiny, "generator.normalization=spectral", "optimizer.lr=1e-2", "ema.decay=0.5")
    for _ in range(3):
        train_step(state, game, inputs())
    before = copy.deepcopy(state.G_ema)
    train_step(state, game, inputs())
    layer, other, G_layer = (net.network.linear for net in (state.G_ema, before, state.G))
    v = torch.nn.functional.normalize(layer.weight.T @ other.u, dim=0)
    torch.testing.assert_close(layer.v, v)
    torch.testing.assert_close(layer.u, torch.nn.functional.normalize(layer.weight @ v, dim=0))
    assert not torch.equal(layer.u, G_layer.u)


def test_frozen_parameters_stay_where_they_are(tiny: Callable[..., Config]) -> None:
    config = tiny("discriminator=cnn", "discriminator.normalization=none", "weight_clip=0.001")
    G, D = build_networks(config, SPEC)
    D.network.convs[0].weight.requires_grad_(False)
    state = initial_state(config, G, D, CPU)
    before = weights(state.D)
    train_step(state, Game(build("loss", config.loss), None, config.weight_clip, 0.9), inputs())
    frozen = {name for name in before if name.endswith("weight")} - set(moved(before, state.D))
    assert frozen == {"network.convs.0.weight"}


def test_batch_norm_in_d_sees_real_and_generated_images_apart(tiny: Callable[..., Config]) -> None:
    state, game = of(tiny, "discriminator.normalization=batch")
    seen = batch(state)
    with torch.no_grad():
        expected = game.loss.discriminator(state.D(seen.x_real), state.D(seen.x_fake))
        mixed = game.loss.discriminator(*state.D(torch.cat([seen.x_real, seen.x_fake])).split(4))
    stats = update_discriminator(state, game, seen)
    torch.testing.assert_close(stats["D_loss"], expected)
    assert not torch.isclose(expected, mixed, rtol=1e-4)


def test_clipping_binds_every_parameter_after_the_update(tiny: Callable[..., Config]) -> None:
    state, game = of(tiny, "discriminator.normalization=none", "weight_clip=0.01")
    G = weights(state.G)
    assert max(p.abs().max() for p in state.D.parameters()) > 0.01
    update_discriminator(state, game, batch(state))
    # float32 has no 0.01; the limit is its nearest neighbour
    assert max(p.abs().max() for p in state.D.parameters()) == torch.tensor(0.01)
    assert moved(G, state.G) == []


PENALTIES = [
    (regularizer, normalization)
    for regularizer in ("gradient_penalty", "r1", "orthonormal", "spectral_regularization")
    for normalization in ("spectral", "none", "layer")
    if (regularizer, normalization) != ("spectral_regularization", "spectral")  # refused: sigma is 1 already
]


@pytest.mark.parametrize(("regularizer", "normalization"), PENALTIES)
def test_a_penalty_adds_its_gradient_to_that_of_the_loss(tiny: Callable[..., Config], regularizer: str, normalization: str) -> None:
    """Three updates, which equal those of plain Adam on the gradient of loss + penalty, whose weights have no other memory order."""
    overrides = f"discriminator.normalization={normalization}", f"regularizer={regularizer}"
    state, game = of(tiny, *overrides, dtype=torch.float64)
    assert game.regularizer is not None
    D, optimizer = plain_copy(state.D, state.D_optimizer)
    for _ in range(3):
        seen = batch(state)
        stats = update_discriminator(state, game, seen)
        normalized = D.normalize(update=True)
        logits = Logits(D(seen.x_real, weights=normalized), D(seen.x_fake, weights=normalized))
        loss = game.loss.discriminator(logits.real, logits.fake)
        penalty = game.regularizer(D, normalized, seen, logits)
        torch.testing.assert_close(stats["penalty"], penalty.detach())
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        assert_same(state.D, D)


RIVALS = [
    ["discriminator.normalization=weight"],
    ["discriminator.normalization=layer", "regularizer=gradient_penalty"],
    ["discriminator.normalization=instance"],
    ["discriminator.normalization=group"],
    ["discriminator.normalization=batch", "weight_clip=0.01"],
    ["discriminator.normalization=none", "regularizer=r1"],
    ["discriminator.normalization=none", "regularizer=orthonormal"],
    ["discriminator.normalization=none", "regularizer=spectral_regularization"],
    ["discriminator.scale=learned", "generator.normalization=spectral", "generator.iterate_per=forward"],
    ["discriminator.exclude=[linear]", "discriminator.iterate_per=forward", "generator.normalization=weight"],
]


@pytest.mark.parametrize("overrides", RIVALS, ids=" ".join)
def test_no_rival_makes_a_python_number_or_moves_what_is_not_its_own(tiny: Callable[..., Config], overrides: list[str]) -> None:
    state, game = of(tiny, *overrides)
    data = inputs()
    addresses = {name: t.data_ptr() for net in (state.G, state.D, state.G_ema) for name, t in net.state_dict().items()}
    with RefuseSynchronisation():
        train_step(state, game, data)
    assert all(p.grad is None for network in (state.G, state.D) for p in network.parameters())
    assert state.not_finite() is None
    # parameters and buffers are changed in place
    assert addresses == {name: t.data_ptr() for net in (state.G, state.D, state.G_ema) for name, t in net.state_dict().items()}
    D = {name: value.clone() for name, value in state.D.state_dict().items() if name.rpartition(".")[2] not in ("u", "v")}
    update_generator(state, game, None, torch.randn(6, 128), None)
    assert all(torch.equal(value, state.D.state_dict()[name]) for name, value in D.items())


@pytest.mark.parametrize("overrides", RIVALS, ids=" ".join)
def test_the_memory_order_of_the_weights_changes_nothing(tiny: Callable[..., Config], overrides: list[str]) -> None:
    """The same steps of a state in whose weights nothing can be permuted, with Adam as a loop of elementary operations."""
    state, game = of(tiny, *overrides, dtype=torch.float64)
    (G, G_optimizer), (D, D_optimizer) = plain_copy(state.G, state.G_optimizer), plain_copy(state.D, state.D_optimizer)
    assert any(p.stride() != q.stride() for p, q in zip(state.D.parameters(), D.parameters(), strict=True))
    plain = TrainState(G, D, copy.deepcopy(state.G_ema), G_optimizer, D_optimizer)
    for _ in range(3):
        data = inputs(dtype=torch.float64)
        train_step(state, game, data)
        train_step(plain, game, data)
    assert_same(state.D, plain.D)
    assert_same(state.G, plain.G)
    assert_same(state.G_ema, plain.G_ema)


class CountKernels(TorchDispatchMode):
    """Counts what is computed: operations that give no view."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.n += not (func.is_view or func in (torch.ops.aten.detach.default, torch.ops.aten._unsafe_view.default))
        return func(*args, **(kwargs or {}))


def test_spectral_norm_of_the_resnet_is_21_kernels_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU kernels are what it costs; this is the form of GPUs, counted on this CPU."""
    monkeypatch.setattr(spectral_norm, "LAYER_BY_LAYER_ON", frozenset())
    counts = {}
    for normalization in ("spectral", "none"):
        config = composed("experiment=cifar10_resnet", f"discriminator.normalization={normalization}")
        state = initial_state(config, *build_networks(config, SPEC), CPU)
        game = Game(build("loss", config.loss), None, None, ema_decay=0.9)
        seen = Batch(torch.rand(2, 3, 32, 32), None, torch.rand(2, 3, 32, 32), None, torch.rand(2))
        update_discriminator(state, game, seen)  # moves constants to their device, once
        with CountKernels() as count:
            update_discriminator(state, game, seen)
        counts[normalization] = count.n
    assert counts["none"] > 50
    assert 15 <= counts["spectral"] - counts["none"] <= 21
