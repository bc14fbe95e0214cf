"""The norms that a config can choose: of a network's weights, by a wrapper around it, or of its activations, by layers inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from sngan import config
from sngan.errors import UserError
from sngan.layers.batch_norm import BatchNorm2d
from sngan.layers.bjorck import Bjorck
from sngan.layers.map_sizes import input_sizes
from sngan.layers.normalized import Network, Normalized
from sngan.layers.spectral_norm import SpectralNorm
from sngan.layers.weight_norm import WeightNorm

ActivationNorm = Callable[[int], nn.Module]
"""From a number of channels C to a module that normalises activations [N, C, H, W]."""

GROUPS = 32
"""The most groups of group normalisation."""


class GroupNorm(nn.GroupNorm):
    """Torch's group norm with an error if a group is a single number, which it would normalise to zero."""

    def forward(self, h: Tensor) -> Tensor:
        if h[0].numel() == self.num_groups:
            raise UserError(
                f"discriminator.normalization: a group would be a single number, one channel of a map of one pixel ({list(h.shape[1:])}), "
                "which the norm sets to zero; use fewer layers that halve the image, or normalization=layer"
            )
        return super().forward(h)


def _groups(channels: int) -> int:
    """32 groups, or the most that split the channels evenly into two or more each; 1 for a prime number of channels."""
    return max(n for n in range(1, GROUPS + 1) if channels % n == 0 and (channels // n >= 2 or n == 1))


def normalized(
    network: Network,
    options: config.Network,
    example: tuple[Tensor | None, ...],
    *,
    role: Literal["generator", "discriminator"],
) -> Normalized[Network]:
    """`network` with its weights normalised as the options say; a `UserError` names the key, such as `discriminator.exclude`.

    `example` are inputs of the network. With `norm_of=map` it is run with them once, for the sizes of its maps.
    """
    try:
        match options.normalization:
            case "spectral":
                return SpectralNorm(
                    network,
                    power_iterations=options.power_iterations,
                    iterate_per=options.iterate_per,
                    scale=options.scale,
                    exclude=options.exclude,
                    sizes=input_sizes(network, *example) if options.norm_of == "map" else None,
                )
            case "bjorck":
                assert options.scale != "learned", "refused before"
                return Bjorck(network, power_iterations=options.power_iterations, scale=options.scale, exclude=options.exclude)
            case "weight":
                return WeightNorm(network, scale=options.scale, exclude=options.exclude)
            case _:
                return Normalized(network)
    except UserError as error:
        raise UserError(f"{role}.{error}") from None


def activation_norm(normalization: str) -> ActivationNorm:
    """The norm after a discriminator's convolutions; the identity if its weights are normalised instead.

    Batch normalisation (Ioffe & Szegedy 2015) always uses the statistics of the batch it sees: a running mean over real and generated
    batches would describe neither. Layer normalisation (Ba et al. 2016) is over C, H, W with a scale and a shift for each channel, as in
    the code of Gulrajani et al. 2017; instance normalisation (Ulyanov et al. 2016) over H, W; group normalisation (Wu & He 2018) over
    H, W and the channels of each of 32 groups, or of fewer groups so that each has two channels.
    """
    match normalization:
        case "batch":
            return lambda channels: BatchNorm2d(channels, track_running_stats=False)
        case "layer":
            return lambda channels: nn.GroupNorm(1, channels)
        case "instance":
            return lambda channels: GroupNorm(channels, channels)
        case "group":
            return lambda channels: GroupNorm(_groups(channels), channels)
        case _:
            return nn.Identity
