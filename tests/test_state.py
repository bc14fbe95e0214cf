"""The state before the first step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sngan import Config
from sngan.data.images import ImageSpec
from sngan.networks import build_networks
from sngan.state import TrainState, initial_state

Tiny = Callable[..., Config]
CPU = torch.device("cpu")
SPEC = ImageSpec(32, 3, 0)


def fresh(config: Config) -> TrainState:
    return initial_state(config, *build_networks(config, SPEC), CPU)


def test_initial_weights_are_a_function_of_the_seed_alone(tiny: Tiny) -> None:
    states = [fresh(tiny(f"seed={seed}")) for seed in (1, 1, 2)]
    torch.manual_seed(7)
    states.append(fresh(tiny("seed=1")))
    first, again, other, later = [torch.cat([p.flatten() for p in (*s.G.parameters(), *s.D.parameters())]) for s in states]
    assert torch.equal(first, again)
    assert torch.equal(first, later)
    assert not torch.equal(first, other)


def test_convolutions_are_in_the_memory_order_that_is_fast_and_the_average_too(tiny: Tiny) -> None:
    state = fresh(tiny())
    for network in (state.G, state.D, state.G_ema):
        weights = [p for p in network.parameters() if p.dim() == 4]
        assert weights
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_the_average_begins_as_the_generator_and_is_neither_trained_nor_in_training_mode(tiny: Tiny) -> None:
    state = fresh(tiny())
    for (name, p), q in zip(state.G_ema.state_dict().items(), state.G.state_dict().values(), strict=True):
        assert torch.equal(p, q), name
        assert p.data_ptr() != q.data_ptr(), name
    assert not any(p.requires_grad for p in state.G_ema.parameters())
    assert not any(module.training for module in state.G_ema.modules())
    assert state.G.training
    assert state.D.training


def test_each_optimiser_has_the_parameters_of_its_own_network(tiny: Tiny) -> None:
    state = fresh(tiny("discriminator.scale=learned"))
    for network, optimizer in ((state.G, state.G_optimizer), (state.D, state.D_optimizer)):
        assert [id(p) for p in network.parameters()] == [id(p) for p in optimizer.param_groups[0]["params"]]


@pytest.mark.parametrize("name", ["generator", "generator_raw", "discriminator"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_single_number_that_is_not_finite_is_seen_in_every_network_and_in_statistics(tiny: Tiny, name: str, value: float) -> None:
    for part in ("parameters", "buffers"):
        state = fresh(tiny())
        assert state.not_finite() is None
        tensor = [t for t in getattr(state.networks()[name], part)() if t.is_floating_point()][-1]
        tensor.data.view(-1)[-1] = value
        found = state.not_finite()
        assert found is not None and found.startswith(f"{name} ")


def test_sigma_is_followed_where_the_regulariser_asks_for_it_and_nowhere_else(tiny: Tiny) -> None:
    for regularizer, followed in (("spectral_regularization", True), ("r1", False), ("none", False)):
        state = fresh(tiny("discriminator.normalization=none", f"regularizer={regularizer}"))
        assert bool(state.D.sigmas()) == followed
        assert any(name.endswith(".u") for name in state.D.state_dict()) == followed
