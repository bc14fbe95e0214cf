from __future__ import annotations

import pytest
import torch

from sngan.config import Optimizer, OwnOptimizer
from sngan.precision import precision
from sngan.training.schedule import learning_rate, set_learning_rate

SHARED = OwnOptimizer(lr=None, betas=None)
LINEAR = Optimizer(lr=2e-4, betas=(0.0, 0.9), decay="linear", decay_from=0, g=SHARED, d=SHARED)


def test_linear_decay_falls_from_lr_at_the_first_step_to_0_after_the_last() -> None:
    rates = [learning_rate(step, 4, LINEAR) for step in range(5)]
    assert rates == pytest.approx([2e-4, 1.5e-4, 1e-4, 0.5e-4, 0.0])


def test_the_decay_may_begin_later() -> None:
    late = LINEAR.model_copy(update={"decay_from": 2})
    assert [learning_rate(step, 4, late) for step in range(5)] == pytest.approx([2e-4, 2e-4, 2e-4, 1e-4, 0.0])
    assert {learning_rate(step, 2, late) for step in range(3)} == {2e-4}


def test_no_decay_is_constant() -> None:
    constant = LINEAR.model_copy(update={"decay": "none"})
    assert {learning_rate(step, 4, constant) for step in range(4)} == {2e-4}


def test_rate_is_filled_in_place() -> None:
    lr = torch.tensor(1.0)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr, fused=True)
    tensor = optimizer.param_groups[0]["lr"]
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert tensor.item() == 0.25


@pytest.mark.parametrize("kind", ["fp32", "tf32", "bf16"])
def test_precision_is_set_inside_and_put_back_outside(kind: str) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    layer = torch.nn.Linear(2, 2)
    with precision(kind, torch.device("cpu")):
        assert layer(torch.zeros(1, 2)).dtype == (torch.bfloat16 if kind == "bf16" else torch.float32)
        assert torch.backends.cudnn.allow_tf32 == (kind != "fp32")
        assert not torch.backends.cuda.matmul.allow_tf32  # spectral norm's products
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert not torch.is_autocast_enabled("cpu")
