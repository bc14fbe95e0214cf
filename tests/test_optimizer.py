"""Gradients and moments where they meet their optimiser, against Adam as a loop of elementary operations on contiguous copies."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from sngan.config import Optimizer, OwnOptimizer
from sngan.optimizer import adam, descend, laid_out_as, restore_moments, trained
from sngan.training.schedule import set_learning_rate

CPU = torch.device("cpu")
SHARED = OwnOptimizer(lr=None, betas=None)
OPTIONS = Optimizer(lr=1e-2, betas=(0.5, 0.9), decay="none", decay_from=0, g=SHARED, d=SHARED)
SHAPES = [(5, 3, 4, 4), (2, 2, 2, 2), (2, 3, 2, 1), (6, 2, 1, 1)]
"""Of weights [out, in, kh, kw]; along a dimension of one entry there is no order."""


class Weights(nn.Module):
    """Weights in the order of channels_last, and one whose rows are its columns."""

    def __init__(self) -> None:
        super().__init__()
        convs = [torch.randn(shape).double().to(memory_format=torch.channels_last) for shape in SHAPES]
        self.all = nn.ParameterList([*convs, torch.randn(4, 3).double().T])


def plain(network: Weights, options: Optimizer = OPTIONS) -> tuple[list[nn.Parameter], torch.optim.Adam]:
    copies = [nn.Parameter(p.detach().clone(memory_format=torch.contiguous_format)) for p in network.all]
    return copies, torch.optim.Adam(copies, lr=options.lr, betas=options.betas, foreach=False, fused=False)


def directions() -> list[Tensor]:
    """Gradients that autograd leaves in the order of their indices: contiguous."""
    return [torch.randn(*shape, dtype=torch.float64) for shape in (*SHAPES, (3, 4))]


def step(network: Weights, optimizer: torch.optim.Adam, copies: list[nn.Parameter], oracle: torch.optim.Adam) -> None:
    """The same gradient for both; and both are there where they were before."""
    g = directions()
    descend([lambda: (sum((p * d).sum() for p, d in zip(network.all, g, strict=True)), {})], network, optimizer)
    for twin, d in zip(copies, g, strict=True):
        twin.grad = d
    oracle.step()


def assert_same(network: Weights, copies: list[nn.Parameter]) -> None:
    for p, twin in zip(network.all, copies, strict=True):
        torch.testing.assert_close(p.detach(), twin.detach(), rtol=1e-6, atol=1e-9)  # the rate is float32


def test_a_gradient_in_another_memory_order_moves_the_weights_that_it_is_of() -> None:
    network = Weights()
    (gradient,) = torch.autograd.grad((network.all[0] * directions()[0]).sum(), network.all[0])
    assert gradient.stride() != network.all[0].stride(), "the case that is meant"
    strides = [p.stride() for p in network.all]
    copies, oracle = plain(network)
    optimizer = adam(network, OPTIONS, CPU)
    for _ in range(5):
        step(network, optimizer, copies, oracle)
    assert_same(network, copies)
    assert strides == [p.stride() for p in network.all]
    assert all(p.grad is None for p in network.all)


def test_moments_in_another_memory_order_are_those_of_the_same_weights() -> None:
    network = Weights()
    copies, oracle = plain(network)
    for _ in range(3):
        for twin, d in zip(copies, directions(), strict=True):
            twin.grad = d
        oracle.step()
    with torch.no_grad():
        for p, twin in zip(network.all, copies, strict=True):
            p.copy_(twin)
    optimizer = adam(network, OPTIONS, CPU)
    restore_moments(optimizer, copy.deepcopy(oracle.state_dict()["state"]))  # they become the optimiser's own
    for _ in range(3):
        step(network, optimizer, copies, oracle)
    assert_same(network, copies)


def test_what_is_laid_out_already_is_not_copied() -> None:
    for p in Weights().all:
        like = torch.empty_like(p, requires_grad=False)
        assert laid_out_as(p, like) is like
    one_by_one = nn.Parameter(torch.randn(6, 2, 1, 1).to(memory_format=torch.channels_last))
    like = torch.randn(6, 2, 1, 1)
    assert laid_out_as(one_by_one, like) is like, "strides of dimensions of one entry are arbitrary"


@pytest.mark.parametrize("other", [torch.randn(3, 5), torch.randn(5, 3).double(), torch.randn(15)], ids=["shape", "type", "flat"])
def test_a_gradient_of_another_shape_or_type_is_no_gradient_of_this_weight(other: Tensor) -> None:
    with pytest.raises(AssertionError):
        laid_out_as(nn.Parameter(torch.randn(5, 3)), other)


def test_the_rate_that_is_filled_in_is_that_of_the_next_update() -> None:
    network = Weights()
    copies, oracle = plain(network)
    optimizer = adam(network, OPTIONS, CPU)
    step(network, optimizer, copies, oracle)
    before = [p.detach().clone() for p in network.all]
    set_learning_rate(optimizer, 0.0)
    set_rate(oracle, 0.0)
    step(network, optimizer, copies, oracle)
    assert all(torch.equal(p, q) for p, q in zip(network.all, before, strict=True))
    set_learning_rate(optimizer, 0.25)
    set_rate(oracle, 0.25)
    step(network, optimizer, copies, oracle)
    assert_same(network, copies)


def set_rate(oracle: torch.optim.Adam, rate: float) -> None:
    oracle.param_groups[0]["lr"] = rate


def test_frozen_parameters_are_not_the_optimisers() -> None:
    network = Weights()
    network.all[1].requires_grad_(False)
    before = network.all[1].clone()
    optimizer = adam(network, OPTIONS, CPU)
    assert len(trained(network)) == len(optimizer.param_groups[0]["params"]) == len(SHAPES)
    descend([lambda: (sum((p * p).sum() for p in network.all), {})], network, optimizer)
    assert torch.equal(network.all[1], before)


def moments(**changes: Any) -> dict[int, dict[str, Any]]:
    """Of a matrix [2, 3] and a vector [3], the first with changes."""
    matrix = {"step": torch.tensor(4.0), "exp_avg": torch.randn(2, 3), "exp_avg_sq": torch.rand(2, 3), **changes}
    return {0: matrix, 1: {"step": torch.tensor(4.0), "exp_avg": torch.randn(3), "exp_avg_sq": torch.rand(3)}}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (moments(exp_avg=torch.randn(3, 2)), r"not of its parameter's shape \[2, 3\]"),
        (moments(exp_avg=torch.randn(6)), "not of its parameter's shape"),
        (moments(exp_avg_sq=torch.rand(2, 2)), "not of its parameter's shape"),
        (moments(exp_avg=torch.randn(2, 3).double()), "shape .* and type"),
        (moments(exp_avg=[[0.0] * 3] * 2), "not of its parameter's shape"),
        (moments(step=torch.ones(2)), "a count of steps is no number"),
        (moments(max_exp_avg_sq=torch.rand(2, 3)), "Adam keeps step, exp_avg, exp_avg_sq, not "),
        ({0: {"step": torch.tensor(1.0)}, 1: moments()[1]}, "Adam keeps step"),
        ({1: moments()[0], 2: moments()[1]}, "the moments of 2 parameters, and there are 2"),
        ({0: moments()[0]}, "the moments of 1 parameters, and there are 2"),
    ],
    ids=["shape", "flat", "square", "type", "list", "steps", "more", "fewer", "numbers", "parameters"],
)
def test_moments_that_do_not_fit_are_refused_and_change_nothing(given: dict[int, Any], words: str) -> None:
    network = nn.Linear(3, 2)
    network.bias = nn.Parameter(torch.zeros(3))
    optimizer = adam(network, OPTIONS, CPU)
    with pytest.raises(ValueError, match=words):
        restore_moments(optimizer, given)
    assert not optimizer.state_dict()["state"]


def test_before_the_first_step_there_are_no_moments_and_that_is_right() -> None:
    network = nn.Linear(3, 2)
    optimizer = adam(network, OPTIONS, CPU)
    restore_moments(optimizer, {})
    assert not optimizer.state_dict()["state"]


class AnswerNumbers(TorchDispatchMode):
    """A number to who asks a tensor without values for one: torch's optimiser asks whether the rate is negative."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return 0.5 if func is torch.ops.aten._local_scalar_dense.default else func(*args, **(kwargs or {}))


def test_on_a_gpu_the_optimiser_may_be_captured() -> None:
    """Tensors without values stand for those of a GPU; where there is one, test_engine.py captures whole steps."""
    for device, captured in (("cuda", True), ("cpu", False)):
        with FakeTensorMode(), AnswerNumbers():
            optimizer = adam(nn.Linear(3, 2, device=device), OPTIONS, torch.device(device))
            (group,) = optimizer.param_groups
            assert (group["capturable"], group["fused"], group["betas"]) == (captured, True, OPTIONS.betas)
            assert group["lr"].device.type == device


def test_adam_is_torchs_bit_for_bit() -> None:
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    first = adam(ours, OPTIONS, CPU)
    second = torch.optim.Adam(theirs.parameters(), lr=torch.tensor(OPTIONS.lr), betas=OPTIONS.betas, fused=True)
    x = torch.randn(4, 5)
    for _ in range(3):
        for network, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    for a, b in zip(first.state_dict()["state"].values(), second.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in b)
    assert first.state_dict()["param_groups"] == second.state_dict()["param_groups"]


def test_adam_does_not_load_the_compiler() -> None:
    code = """
import sys, torch
from sngan.optimizer import Adam
weight = torch.nn.Parameter(torch.ones(2))
optimizer = Adam([weight], lr=torch.tensor(1e-2), fused=True)
weight.sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules, weight.tolist() != [1, 1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
