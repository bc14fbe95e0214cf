"""What a GPU would refuse or wait for, found without one: on tensors that only pretend to be there, and in what is computed on the CPU."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from conftest import TINY, composed
from sngan import Config, build, optimizer
from sngan.data.images import ImageSpec
from sngan.layers import spectral_norm
from sngan.networks import build_networks
from sngan.state import TrainState, initial_state
from sngan.training import fakes
from sngan.training.log import History
from sngan.training.schedule import set_learning_rate
from sngan.training.step import Game, Inputs, train_step

GPU = torch.device("cuda")
aten = torch.ops.aten

CNN = ["batch=4", "g_batch=6", "d_steps=2", "generator=cnn", "generator.widths=[16,8,8,8]", *TINY[4:]]
DCGAN = [*(word for word in CNN if not word.startswith("discriminator")), "discriminator=dcgan", "discriminator.width=8"]
RESNET = [
    *(word for word in CNN if not word.startswith(("discriminator", "generator"))),
    "generator=resnet", "generator.widths=[16,8,8,8]", "discriminator=resnet", "discriminator.widths=[8,8,8]",
    "discriminator.downsample=[true,true,false]",
]  # fmt: skip

CONSTRAINTS = sorted(path.stem for path in Path(__file__).parents[2].joinpath("configs", "constraint").iterdir())

GAMES: dict[str, list[str]] = {
    **{name: [*CNN, f"constraint={name}"] for name in CONSTRAINTS},
    "instance": [*CNN, "discriminator.normalization=instance"],
    "group": [*CNN, "discriminator.normalization=group", "regularizer=gradient_penalty"],
    "r1": [*CNN, "regularizer=r1"],
    "spectral_regularization": [*CNN, "discriminator.normalization=none", "regularizer=spectral_regularization"],
    "learned_scale": [*CNN, "discriminator.scale=learned", "generator.normalization=weight", "generator.scale=learned"],
    "iterate_per_forward": [*CNN, "discriminator.iterate_per=forward", "generator.normalization=spectral"],
    "feature": [*CNN, "generator.first_norm=feature", "generator.normalization=spectral", "generator.iterate_per=forward"],
    "dcgan": DCGAN,
    "dcgan_penalty": [*DCGAN, "discriminator.normalization=layer", "regularizer=gradient_penalty"],
    "resnet": RESNET,
    "resnet_penalty": [*RESNET, "constraint=wgan_gp"],
    "projection": [*RESNET, "conditional=true", "generator.normalization=spectral"],
    "relativistic_lecam": [*CNN, "conditional=true", "loss=relativistic_average", "regularizer=lecam"],
    "concat_r1_r2": [*DCGAN, "conditional=true", "discriminator.labels=concat", "loss=relativistic_pair", "regularizer=r1_r2"],
    "biggan_auxiliary": [
        *RESNET,
        "generator=biggan",
        "discriminator=biggan",
        "generator.attention=16",
        "discriminator.attention=16",
        "conditional=true",
        "discriminator.labels=auxiliary",
        "g_orthogonal=1e-3",
        "regularizer=r1",
    ],
    "projection_penalty": [*RESNET, "conditional=true", "discriminator.normalization=layer", "regularizer=gradient_penalty"],
}

each_game = pytest.mark.parametrize("name", GAMES)


@pytest.fixture(autouse=True)
def _in_the_form_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spectral norm in batches padded with zeros, and all fakes of a step together."""
    monkeypatch.setattr(spectral_norm, "LAYER_BY_LAYER_ON", frozenset())
    monkeypatch.setattr(fakes, "TOGETHER_ON", frozenset({"cpu", "cuda"}))


def start(name: str) -> tuple[TrainState, Game, Inputs]:
    """The first state of a game, and the inputs of a step."""
    return copy.deepcopy(_start(name))


@functools.cache
def _start(name: str) -> tuple[TrainState, Game, Inputs]:
    config = composed(*GAMES[name])
    n_classes = 10 if config.conditional else 0
    state = initial_state(config, *build_networks(config, ImageSpec(32, 3, n_classes)), torch.device("cpu"))
    game = Game(
        build("loss", config.loss),
        build("regularizer", config.regularizer),
        config.weight_clip,
        config.ema.decay,
        g_orthogonal=config.g_orthogonal,
    )
    return state, game, inputs(config, n_classes)


def inputs(config: Config, n_classes: int) -> Inputs:
    d, n, m = config.d_steps, config.batch, config.g_batch
    x_real, z_D, epsilon, z_G = torch.rand(d, n, 3, 32, 32) * 2 - 1, torch.randn(d, n, 128), torch.rand(d, n), torch.randn(m, 128)
    if not n_classes:
        return Inputs(x_real, None, z_D, None, epsilon, z_G, None)
    y_real, y_D, y_G = (torch.randint(n_classes, shape) for shape in ((d, n), (d, n), (m,)))
    return Inputs(x_real, y_real, z_D, y_D, epsilon, z_G, y_G, x_real.flatten(0, 1)[-m:], y_real.flatten()[-m:])


# Lists of tensors that meet in one kernel


class RefuseUnlikeTensors(TorchDispatchMode):
    """Raises where tensors that a kernel over lists pairs differ in what it takes for granted, or where a list has two types."""

    n_lists = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.name()
        if name.startswith(("aten::_foreach_", "aten::_fused_adam_")):
            lists = [a for a in args if isinstance(a, list | tuple) and a and isinstance(a[0], Tensor)]
            if name.startswith("aten::_fused_adam_"):
                lists = lists[:4]  # weights, gradients, moments; what follows are scalars
                assert len(lists) == 4
            for tensors in zip(*lists, strict=True):
                first = layout(tensors[0])
                assert all(layout(tensor) == first for tensor in tensors), (name, [layout(tensor) for tensor in tensors])
            assert all(len({tensor.dtype for tensor in tensors}) == 1 for tensors in lists), f"{name} goes tensor by tensor"
            self.n_lists += len(lists)
        return func(*args, **(kwargs or {}))


def layout(tensor: Tensor) -> tuple[Any, ...]:
    """What a kernel that reads raw memory takes for granted; along a dimension of one entry nothing is ever stepped."""
    strides = [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]
    return tensor.dtype, tensor.device, tensor.shape, strides


@each_game
def test_lists_that_meet_in_a_kernel_are_laid_out_alike(name: str) -> None:
    state, game, data = start(name)
    with RefuseUnlikeTensors() as seen:
        train_step(state, game, data)
    assert (
        seen.n_lists >= 4 * 3 + 2 + 2
    )  # two discriminator updates and one generator update, the average of weights and of statistics


# What a captured step holds on to


def addresses(state: TrainState) -> dict[str, int]:
    """Of everything that lives from step to step."""
    tensors = {f"{name}.{key}": t for name, net in state.networks().items() for key, t in net.state_dict(keep_vars=True).items()}
    for network, adam in (("G", state.G_optimizer), ("D", state.D_optimizer)):
        tensors[f"{network}.lr"] = adam.param_groups[0]["lr"]
        for i, moments in enumerate(adam.state.values()):
            tensors |= {f"{network}.{i}.{key}": t for key, t in moments.items()}
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


@each_game
def test_what_lives_from_step_to_step_stays_where_it_is(name: str) -> None:
    """A graph reads and writes the addresses it was captured with. Gradients are its own: freed before it, they are made anew inside it."""
    state, game, data = start(name)
    train_step(state, game, data)  # makes the moments
    before = addresses(state)
    set_learning_rate(state.D_optimizer, 1e-5)
    train_step(state, game, data)
    assert addresses(state) == before
    assert all(p.grad is None for net in (state.G, state.D, state.G_ema) for p in net.parameters())


# Waiting for the device


WAITS = {
    aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.equal, aten.nonzero, aten.argwhere, aten.masked_select, aten._unique,
    aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.bincount,
}  # fmt: skip
"""Operations whose result, or its shape, the host has to know."""


class RefuseWaiting(TorchDispatchMode):
    """Raises where the host would wait for the device: for a number, for a shape that depends on numbers, for a copy between the two."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        assert func.overloadpacket not in WAITS, func
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
            assert not any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]), f"{func} by a mask"
        result = func(*args, **kwargs)
        tensors = [t for t in (*args, *kwargs.values(), result) if isinstance(t, Tensor)]
        if func.overloadpacket in (aten._to_copy, aten.copy_, aten.copy, aten.where):  # where copies a number of the host's
            assert len({t.device for t in tensors}) == 1, f"{func} between devices"
        return result


def between_logs(state: TrainState, game: Game, data: Inputs, history: History) -> None:
    """What `loop.train` does with the device at each step."""
    for optimizer_ in (state.G_optimizer, state.D_optimizer):
        set_learning_rate(optimizer_, 1e-4)
    history.append(train_step(state, game, data))


@each_game
def test_the_host_does_not_wait_between_logs(name: str) -> None:
    state, game, data = start(name)
    history = History()
    between_logs(state, game, data, history)  # puts constants where they are needed, once
    with RefuseWaiting():
        between_logs(state, game, data, history)
    assert history.means().keys() >= {"D_loss", "G_loss"}
    assert history.first_broken() is None


# A GPU that is pretended


class AdamWithoutNumbers(TorchDispatchMode):
    """Fused Adam where tensors have no numbers, which torch cannot do: all that it is given is on the GPU, and that is all."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if func.overloadpacket is not aten._fused_adam_:
            return func(*args, **kwargs)
        given = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        assert all(t.device.type == "cuda" for t in given)
        assert isinstance(kwargs["lr"], Tensor)  # a number would be frozen into a graph
        return None


def pretended(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[TrainState, Game, Inputs]:
    """A game on a GPU whose tensors have shapes, types and devices, and no numbers; within `FakeTensorMode`."""
    monkeypatch.setattr(torch.autograd, "grad", gradients)
    with _disable_current_modes():
        state, game, data = start(name)
    on_gpu(state)
    return state, game, Inputs(*(None if t is None else like(t) for t in data))  # type: ignore[arg-type]


@each_game
def test_a_step_on_a_pretended_gpu_mixes_no_devices_and_never_waits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), AdamWithoutNumbers():
        state, game, data = pretended(name, monkeypatch)
        history = History()
        between_logs(state, game, data, history)  # puts constants where they are needed, once
        with RefuseWaiting(), RefuseUnlikeTensors():
            between_logs(state, game, data, history)
        assert history._sum is not None
        assert history._sum.device.type == "cuda"
        everything = [*state.G_ema.state_dict().values(), *state.G.state_dict().values(), *state.D.state_dict().values()]
        moments = [t for adam in (state.G_optimizer, state.D_optimizer) for held in adam.state.values() for t in held.values()]
        assert all(isinstance(t, FakeTensor) and t.device.type == "cuda" for t in (*everything, *moments))


def test_a_pretended_gpu_notices_what_was_left_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), AdamWithoutNumbers():
        state, game, data = pretended("resnet", monkeypatch)
        state.D.network.linear.u = torch.ones(1)
        with pytest.raises(RuntimeError, match="cpu"):
            train_step(state, game, data)


@pytest.mark.parametrize("name", ["projection", "projection_penalty"])
def test_gradients_of_the_walk_are_those_of_the_engine(name: str) -> None:
    (state, game, data), (other, _, _) = start(name), start(name)
    train_step(state, game, data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.autograd, "grad", gradients)
        train_step(other, game, data)
    for key, tensor in state.D.state_dict().items():
        torch.testing.assert_close(other.D.state_dict()[key], tensor, rtol=1e-3, atol=1e-6)


def gradients(output: Tensor, tensors: Any, *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """`torch.autograd.grad` of a scalar by leaves, as a walk in Python: the engine itself asks the driver for its devices."""
    leaves = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    arrived: dict[Any, list[Tensor | None]] = {output.grad_fn: [torch.ones_like(output)]}
    found: dict[int, Tensor] = {}
    with torch.set_grad_enabled(create_graph):
        for node in reversed(from_inputs_on(output.grad_fn)):
            received = arrived.pop(node, None)
            if received is None:
                continue
            if hasattr(node, "variable"):
                found[id(node.variable)] = received[0]  # type: ignore[assignment]
                continue
            if isinstance(node, torch.autograd.function.BackwardCFunction):
                given = [zeros(meta) if g is None else g for g, meta in zip(received, node._input_metadata, strict=True)]
                made = node.apply(*given)[-len(node.next_functions) :]  # ours take first what is no tensor and has no gradient
            else:
                made = node(*received)
            made = made if isinstance(made, tuple) else (made,)
            for gradient, (target, at) in zip(made, node.next_functions, strict=True):
                if gradient is None or target is None:
                    continue
                meta = target._input_metadata
                gradient = gradient.sum_to_size(meta[at].shape).to(meta[at].dtype)
                assert gradient.device == meta[at].device, (target, gradient.device)
                into = arrived.setdefault(target, [None] * len(meta))
                into[at] = gradient if into[at] is None else into[at] + gradient
    return tuple(found[id(leaf)] for leaf in leaves)


def from_inputs_on(root: Any) -> list[Any]:
    """The nodes of a graph, each after those that it hands its gradients to."""
    order: dict[Any, None] = {}
    opened: set[Any] = set()
    todo = [(root, False)]
    while todo:
        node, is_done = todo.pop()
        if is_done:
            order[node] = None
        elif node not in opened:
            opened.add(node)
            todo.append((node, True))
            todo.extend((target, False) for target, _ in node.next_functions if target is not None)
    return list(order)


def zeros(meta: Any) -> Tensor:
    return torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device)


def on_gpu(state: TrainState) -> None:
    """The state as it would be there, in place, made from the one on the CPU with all its layouts."""
    for net in (state.G, state.D, state.G_ema):
        for module in net.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(like(parameter), parameter.requires_grad)
            module._buffers.update({name: like(buffer) for name, buffer in module._buffers.items() if buffer is not None})
    for net, adam in ((state.G, state.G_optimizer), (state.D, state.D_optimizer)):
        lr = torch.empty((), device=GPU)
        adam.param_groups[0].update(params=optimizer.trained(net), lr=lr, capturable=True)  # as `optimizer.adam` makes it


def like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU)
