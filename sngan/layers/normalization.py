"""The norms that a network can be asked for: of its weights, by a wrapper around it, or of its activations, by layers inside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from torch import nn

from sngan import config
from sngan.errors import UserError
from sngan.layers.conditional import BN_EPS
from sngan.layers.normalized import Network, Normalized
from sngan.layers.spectral_norm import SpectralNorm
from sngan.layers.weight_norm import WeightNorm

ActivationNorm = Callable[[int], nn.Module]
"""A number of channels -> what normalises activations [N, C, H, W] of so many channels."""

GROUPS = 32
"""Of group normalisation (Wu & He 2018), where the channels can be split so."""


def normalized(network: Network, options: config.Network, *, player: Literal["generator", "discriminator"]) -> Normalized[Network]:
    """`network` with its weights normalised as the options say; raises `UserError` that names the player's key for what cannot be done."""
    try:
        match options.normalization:
            case "spectral":
                return SpectralNorm(
                    network,
                    power_iterations=options.power_iterations,
                    iterate_per=options.iterate_per,
                    scale=options.scale,
                    exclude=options.exclude,
                )
            case "weight":
                return WeightNorm(network, scale=options.scale, exclude=options.exclude)
            case _:
                return Normalized(network)
    except UserError as error:
        raise UserError(f"{player}.{error}") from None


def activation_norm(normalization: str) -> ActivationNorm:
    """What a discriminator puts after its convolutions; nothing where it is the weights that are normalised.

    Batch normalisation (Ioffe & Szegedy 2015) always uses the statistics of the batch it sees: a running mean over real and generated
    batches would describe neither. Layer normalisation (Ba et al. 2016) is over C, H, W with a scale and a shift for each channel, as in
    the code of Gulrajani et al. 2017; instance normalisation (Ulyanov et al. 2016) over H, W; group normalisation over H, W and C / 32
    channels.
    """
    match normalization:
        case "batch":
            return lambda channels: nn.BatchNorm2d(channels, eps=BN_EPS, track_running_stats=False)
        case "layer":
            return lambda channels: nn.GroupNorm(1, channels)
        case "instance":
            return lambda channels: nn.GroupNorm(channels, channels)
        case "group":
            return lambda channels: nn.GroupNorm(math.gcd(GROUPS, channels), channels)
        case _:
            return nn.Identity
