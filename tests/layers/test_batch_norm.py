from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from conftest import needs_a_compiler
from sngan.layers.batch_norm import BatchNorm1d, BatchNorm2d, groups, takes_groups


@pytest.mark.parametrize(("norm", "shape"), [(BatchNorm2d(3), (12, 3, 4, 4)), (BatchNorm1d(5), (12, 5))], ids=["2d", "1d"])
def test_groups_together_are_the_groups_one_after_the_other(norm: nn.Module, shape: tuple[int, ...]) -> None:
    apart, h = copy.deepcopy(norm.double()), torch.randn(shape, dtype=torch.float64)
    h[:4] += 3.0  # groups that differ, so that their statistics do
    expected = torch.cat([apart(part) for part in h.chunk(3)])
    with groups(norm, 3):
        torch.testing.assert_close(norm(h), expected, rtol=1e-12, atol=1e-12)
    assert_same_state(norm, apart)
    assert not torch.allclose(norm(h), expected), "outside it is one batch again"


def test_evaluation_mode_uses_the_running_statistics() -> None:
    norm, h = BatchNorm2d(3).eval(), torch.randn(6, 3, 2, 2)
    with groups(norm, 2):
        torch.testing.assert_close(norm(h), h, rtol=1e-4, atol=1e-4)


def test_running_statistics_take_a_tenth_of_each_batch_as_the_author_code_does() -> None:
    norm, h = BatchNorm2d(3), 3 * torch.randn(6, 3, 5, 5) + 2
    norm(h)
    torch.testing.assert_close(norm.running_mean, 0.1 * h.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * h.var((0, 2, 3)))


def test_a_foreign_batch_norm_does_not_take_groups() -> None:
    assert takes_groups(nn.Sequential(BatchNorm2d(3), nn.ReLU()))
    assert not takes_groups(nn.Sequential(BatchNorm2d(3), nn.BatchNorm2d(3)))


def assert_same_state(a: nn.Module, b: nn.Module) -> None:
    other: dict[str, Tensor] = b.state_dict()
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, other[name], rtol=1e-12, atol=1e-12)


@needs_a_compiler
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_compiled_groups_are_the_groups(affine: bool, memory_format: torch.memory_format) -> None:
    plain = BatchNorm2d(5, affine=affine).double()
    if affine:
        nn.init.normal_(plain.weight)
        nn.init.normal_(plain.bias)
    fused = copy.deepcopy(plain)
    h = torch.randn(12, 5, 3, 2, dtype=torch.float64).to(memory_format=memory_format)
    h[:4] += 3.0
    compiled = torch.compile(fused, fullgraph=True)
    with groups(plain, 3), groups(fused, 3):
        torch.testing.assert_close(compiled(h), plain(h), rtol=1e-12, atol=1e-12)
    assert_same_state(fused, plain)
