"""The sizes of the maps that the convolutions of a network see."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sngan.layers.linear_maps import TRANSPOSED
from sngan.layers.resampling import Resampling3x3


def doublings(resolution: int) -> int:
    """How often a map with a side from 4 to 7 doubles up to the resolution; 0 if none does."""
    return next((n for n in range(1, resolution.bit_length()) if resolution % 2**n == 0 and 4 <= resolution >> n <= 7), 0)


class Maps(NamedTuple):
    """The sizes of a convolution's maps: `fine` of its input, `coarse` of its output; for a transposed one the other way round."""

    fine: tuple[int, ...]
    coarse: tuple[int, ...]


@torch.no_grad()
def map_sizes(network: nn.Module, *inputs: Tensor | None) -> dict[str, Maps]:
    """The sizes, by layer name, of the maps that each convolution sees when the network is run; of several calls the largest."""
    sizes: dict[str, Maps] = {}

    def note(name: str, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        here = Maps(tuple(args[0].shape[2:]), tuple(output.shape[2:]))
        if isinstance(layer, TRANSPOSED):
            here = Maps(here.coarse, here.fine)
        elif isinstance(layer, Resampling3x3):  # its convolution is at the finer of the two
            here = Maps(max(here), max(here))
        sizes[name] = max(sizes.get(name, here), here)

    convolutions = nn.Conv2d | nn.ConvTranspose2d
    hooks = [m.register_forward_hook(partial(note, name)) for name, m in network.named_modules() if isinstance(m, convolutions)]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return sizes


def input_sizes(network: nn.Module, *inputs: Tensor | None) -> dict[str, tuple[int, ...]]:
    """The size [H, W] of each convolution's own input, by layer name, when the network is run; statistics of batch norm stay as they are."""
    modes = {module: module.training for module in network.modules()}
    sizes = map_sizes(network.eval(), *inputs)
    for module, training in modes.items():
        module.training = training
    return {name: maps.coarse if isinstance(network.get_submodule(name), TRANSPOSED) else maps.fine for name, maps in sizes.items()}
