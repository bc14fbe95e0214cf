"""The learning rate over time."""

from __future__ import annotations

import torch

from sngan.config import Optimizer


def learning_rate(step: int, steps: int, options: Optimizer) -> float:
    """The learning rate after `step` finished steps; `linear` falls from `lr` at step 0 to 0 at `steps` (author code)."""
    return options.lr * (1.0 - step / steps) if options.decay == "linear" else options.lr


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the optimiser's learning rate, a tensor, in place."""
    for group in optimizer.param_groups:
        group["lr"].fill_(rate)
