"""The learning rate over time."""

from __future__ import annotations

import torch

from sngan.config import Optimizer


def learning_rate(step: int, steps: int, options: Optimizer) -> float:
    """The learning rate after `step` finished steps; `linear` falls from `lr` at step `decay_from` to 0 at `steps` (author code)."""
    if options.decay == "none" or step <= options.decay_from:
        return options.lr
    return options.lr * (1.0 - (step - options.decay_from) / (steps - options.decay_from))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the optimiser's learning rate, a tensor, in place."""
    for group in optimizer.param_groups:
        group["lr"].fill_(rate)
