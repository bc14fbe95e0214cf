"""How many images go through a network at once, outside training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

BATCH = 250
"""The most images in a batch."""

MOST_NUMBERS = BATCH * 256 * 32 * 32
"""The most numbers in an output of a layer for a batch: those of the paper's ResNet at 32 px, 262 MB."""


def fitting(numbers: int) -> int:
    """The images in a batch, if the largest output of a layer holds so many numbers for each."""
    return max(1, min(BATCH, MOST_NUMBERS // numbers))


@torch.no_grad()
def batch_of(network: nn.Module, *inputs: Tensor | None) -> int:
    """The images in a batch for a network of one's own inputs, which are tried on a copy of it: one image, [1, …], and its label, [1] or None."""
    network = copy.deepcopy(network).eval()
    numbers = [1]

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        numbers.append(output.numel() if isinstance(output, Tensor) else 0)

    for module in network.modules():
        module.register_forward_hook(note)
    network(*inputs)
    return fitting(max(numbers))
