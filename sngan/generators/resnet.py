"""The ResNet generator (paper Tables 4-6)."""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Width, ZDim
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.generators.generator import Generator, bottom_width
from sngan.layers import initialization
from sngan.layers.batch_norm import BatchNorm2d
from sngan.layers.residual import GeneratorBlock
from sngan.registry import register

PUBLISHED_WIDTHS = {
    32: (256, 256, 256, 256),
    48: (512, 256, 128, 64),
    64: (1024, 512, 256, 128, 64),
    128: (1024, 1024, 512, 256, 128, 64),
}
"""Resolution -> channels after the linear layer and after each block (32: paper Table 4; 48: Table 5; 64: author code; 128: Table 6)."""


@register("generator", "resnet")
class ResNetGenerator(Generator):
    """z -> linear to M x M -> residual blocks, each doubling the side -> BN-ReLU-conv3-tanh.

    `widths` are the channels after the linear layer and after each block; None takes the published ones of the resolution.
    M = resolution / 2^(len(widths) - 1). With labels the blocks' batch norms are conditional and the last one is plain (author code).
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        z_dim: ZDim,
        widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=MOST_LAYERS)] | None,
    ):
        super().__init__()
        widths = widths or PUBLISHED_WIDTHS.get(spec.resolution)
        if widths is None:
            raise UserError(
                f"generator=resnet is published for {', '.join(map(str, PUBLISHED_WIDTHS))} px, not {spec.resolution}; "
                "give generator.widths, e.g. [512,256,128,64]: the first map's channels, then one per doubling"
            )
        self.z_dim, self.n_classes = z_dim, spec.n_classes
        side = bottom_width(spec.resolution, widths)
        self.shape = (widths[0], side, side)
        self.linear = nn.Linear(z_dim, self.shape[0] * self.shape[1] * self.shape[2])
        self.blocks = nn.ModuleList(
            GeneratorBlock(c_in, c_out, n_classes=spec.n_classes) for c_in, c_out in itertools.pairwise(widths)
        )
        self.norm = BatchNorm2d(widths[-1])
        self.conv = nn.Conv2d(widths[-1], spec.channels, 3, padding=1)
        initialization.glorot(self)
        nn.init.xavier_uniform_(self.conv.weight)  # the last convolution: gain 1

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert (y is not None) == (self.n_classes > 0), "labels are for conditional generators, and they need them"
        h = self.linear(z).view(-1, *self.shape)  # [N, C, M, M]
        for block in self.blocks:
            h = block(h, y)  # [N, C', 2M, 2M]
        return torch.tanh(self.conv(F.relu(self.norm(h))))  # [N, channels, H, W]
