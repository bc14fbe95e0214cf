"""Everything that a training step changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from sngan import distributed
from sngan.config import Config
from sngan.data.images import ImageSpec
from sngan.generators.generator import Generator
from sngan.layers.normalization import activation_norm, normalized
from sngan.layers.normalized import Normalized
from sngan.layers.spectral_norm import follow_sigma
from sngan.registry import build
from sngan.regularizers.regularizer import Regularizer
from sngan.training.optimizer import adam


@dataclass
class TrainState:
    """The two players, the averaged generator, their optimisers, and how many steps are done."""

    G: Normalized[Generator]
    D: Normalized[nn.Module]
    G_ema: Normalized[Generator]
    G_optimizer: torch.optim.Optimizer
    D_optimizer: torch.optim.Optimizer
    step: int = 0

    def networks(self) -> dict[str, nn.Module]:
        """By the names of their files in a checkpoint."""
        return {"generator": self.G_ema.network, "generator_raw": self.G.network, "discriminator": self.D.network}

    def is_finite(self) -> bool:
        """Whether every weight and statistic is; waits for the device."""
        tensors = [t for network in self.networks().values() for t in network.state_dict().values() if t.is_floating_point()]
        return bool(torch.stack([t.isfinite().all() for t in tensors]).all())


def build_networks(config: Config, spec: ImageSpec) -> tuple[Normalized[Generator], Normalized[nn.Module]]:
    """G and D for these images, on the CPU, with initial weights that depend on `config.seed` alone.

    Raises `UserError` when they cannot be made for this size of image, or not be normalised as asked.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_generator(config, spec), build_discriminator(config, spec)


def build_generator(config: Config, spec: ImageSpec) -> Normalized[Generator]:
    """G for these images, with initial weights from torch's global generator."""
    G: Generator = build("generator", config.generator, spec)
    return normalized(G, config.generator, player="generator")


def build_discriminator(config: Config, spec: ImageSpec) -> Normalized[nn.Module]:
    """D for these images, with what the regulariser tracks on it, and initial weights from torch's global generator."""
    norm = activation_norm(config.discriminator.normalization)
    network: nn.Module = build("discriminator", config.discriminator, spec, norm)
    if config.discriminator.normalization in ("instance", "group"):
        _try(network, spec)
    D = normalized(network, config.discriminator, player="discriminator")
    regularizer: Regularizer | None = build("regularizer", config.regularizer)
    if regularizer and regularizer.follows_sigma:
        follow_sigma(D)
    return D


def _try(network: nn.Module, spec: ImageSpec) -> None:
    """Shows D two grey images, so that a norm that has nothing to normalise on their maps says so now."""
    y = torch.zeros(2, dtype=torch.int64) if spec.n_classes else None
    with torch.no_grad():
        network(torch.zeros(2, spec.channels, spec.resolution, spec.resolution), y)


def initial_state(config: Config, G: Normalized[Generator], D: Normalized[nn.Module], device: torch.device) -> TrainState:
    """The state before the first step; all ranks start from rank 0's weights."""
    for network in (G, D):
        network.to(device).to(memory_format=torch.channels_last)  # in place; 1.2x on convolutions, CPU and GPU
        distributed.broadcast(network)
    G_ema = copy.deepcopy(G).requires_grad_(False).eval()
    return TrainState(G, D, G_ema, adam(G, config.optimizer, device), adam(D, config.optimizer, device))
