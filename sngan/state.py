"""Everything that a training step changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from sngan import distributed
from sngan.config import Config
from sngan.discriminators.discriminator import freeze
from sngan.generators.generator import Generator
from sngan.layers.normalized import Normalized
from sngan.optimizer import adam


@dataclass
class TrainState:
    """The two networks, the averaged generator, the optimisers, and the number of finished steps."""

    G: Normalized[Generator]
    D: Normalized[nn.Module]
    G_ema: Normalized[Generator]
    G_optimizer: torch.optim.Optimizer
    D_optimizer: torch.optim.Optimizer
    step: int = 0

    def networks(self) -> dict[str, nn.Module]:
        """The networks by the names of their files in a checkpoint."""
        return {"generator": self.G_ema.network, "generator_raw": self.G.network, "discriminator": self.D.network}

    def not_finite(self) -> str | None:
        """The first weight or statistic that holds NaN or infinity, as `generator_raw linear.weight`; None without. Waits for the device."""
        tensors = {
            f"{file} {name}": t
            for file, network in self.networks().items()
            for name, t in network.state_dict().items()
            if t.is_floating_point()
        }
        broken = ~torch.stack([t.isfinite().all() for t in tensors.values()])
        return next((name for name, found in zip(tensors, broken.tolist(), strict=True) if found), None)


def initial_state(config: Config, G: Normalized[Generator], D: Normalized[nn.Module], device: torch.device) -> TrainState:
    """The state before the first step; all ranks start from rank 0's weights. The lowest `freeze_d` blocks of D are frozen."""
    freeze(D.network, config.freeze_d)
    for network in (G, D):
        network.to(device).to(memory_format=torch.channels_last)  # in place; 1.2x on convolutions, CPU and GPU
        distributed.broadcast(network)
    G_ema = copy.deepcopy(G).requires_grad_(False).eval()
    return TrainState(G, D, G_ema, adam(G, config.optimizer.of("g"), device), adam(D, config.optimizer.of("d"), device))
