"""The standard CNN generator (paper Table 3)."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Width, ZDim
from sngan.data.images import ImageSpec
from sngan.generators.generator import Generator, first_map
from sngan.layers import initialization
from sngan.layers.batch_norm import BatchNorm1d, BatchNorm2d
from sngan.layers.conditional import ConditionalBatchNorm2d
from sngan.registry import register


@register("generator", "cnn")
class CNNGenerator(Generator):
    """z -> linear to the first map -> 4x4 stride-2 transposed convolutions, each BN-ReLU -> conv3 -> tanh.

    `widths` are the channels after the linear layer and after each transposed convolution; the first
    map has the sides of the image / 2^(len(widths) - 1).
    `first_norm` is batch norm with ReLU after the linear layer: none (paper Table 3), one per channel, or one per feature (author code).
    With labels the batch norms after the transposed convolutions are conditional.
    Weights start at N(0, 0.02) (author code).
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        z_dim: ZDim,
        widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=MOST_LAYERS)],
        first_norm: Literal["none", "channel", "feature"],
    ):
        super().__init__()
        self.z_dim, self.n_classes = z_dim, spec.n_classes
        self.shape = first_map(spec, widths)
        self.linear = nn.Linear(z_dim, self.shape[0] * self.shape[1] * self.shape[2])
        self.first = nn.Sequential(*_first_norm(first_norm, self.shape))
        self.deconvs = nn.Sequential()
        for c_in, c_out in itertools.pairwise(widths):
            self.deconvs.append(nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1))
            self.deconvs.append(ConditionalBatchNorm2d(c_out, spec.n_classes) if spec.n_classes else BatchNorm2d(c_out))
            self.deconvs.append(nn.ReLU())
        self.conv = nn.Conv2d(widths[-1], spec.channels, 3, padding=1)
        initialization.normal(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert (y is not None) == (self.n_classes > 0), "labels are for conditional generators, and they need them"
        h = self.first(self.linear(z).view(-1, *self.shape))  # [N, C, H', W']
        for layer in self.deconvs:
            h = layer(h, y) if isinstance(layer, ConditionalBatchNorm2d) else layer(h)
        return torch.tanh(self.conv(h))  # [N, channels, H, W]


def _first_norm(kind: str, shape: tuple[int, int, int]) -> list[nn.Module]:
    match kind:
        case "channel":
            return [BatchNorm2d(shape[0]), nn.ReLU()]
        case "feature":
            features = shape[0] * shape[1] * shape[2]
            return [nn.Flatten(), BatchNorm1d(features), nn.Unflatten(1, shape), nn.ReLU()]
        case _:
            return []
