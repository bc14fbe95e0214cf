"""Initial weights as in the author code. Call it before a weight norm wraps the network."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn


def glorot(network: nn.Module) -> None:
    """Glorot uniform in place: gain sqrt 2 for 3x3 convolutions, 1 for everything else; biases 0 (author code, ResNets)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            spatial = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
            nn.init.xavier_uniform_(module.weight, gain=math.sqrt(2.0) if spatial else 1.0)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def normal(network: nn.Module, std: float = 0.02) -> None:
    """N(0, std) in place for all convolutions and linear layers; biases 0 (author code, CNNs)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def orthogonal(network: nn.Module) -> None:
    """Orthogonal matrices [out, in * kh * kw] in place for all layers; biases 0 (BigGAN)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.init.orthogonal_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


Init = Literal["glorot", "orthogonal"]


def by_name(name: Init, network: nn.Module) -> None:
    """The one of this name, in place."""
    {"glorot": glorot, "orthogonal": orthogonal}[name](network)
