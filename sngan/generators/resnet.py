"""The ResNet generator (paper Tables 4-6)."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Resolution, Width, ZDim
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.generators.generator import Generator, first_map
from sngan.layers import initialization
from sngan.layers.attention import SelfAttention, place_of
from sngan.layers.batch_norm import BatchNorm2d
from sngan.layers.conditional import ConditionalBatchNorm2d
from sngan.layers.map_sizes import doublings
from sngan.layers.resampling import Upsampling
from sngan.layers.residual import GeneratorBlock
from sngan.registry import register

PUBLISHED_WIDTHS: dict[Resolution, tuple[int, ...]] = {
    32: (256, 256, 256, 256),
    48: (512, 256, 128, 64),
    64: (1024, 512, 256, 128, 64),
    128: (1024, 1024, 512, 256, 128, 64),
}
"""Resolution -> channels after the linear layer and after each block (32: paper Table 4; 48: Table 5; 64: author code; 128: Table 6)."""


def derived_widths(resolution: int) -> tuple[int, ...]:
    """The widths for a resolution without published ones, by the rule of those for 48, 64 and 128 px.

    The first map has a side from 4 to 7. The last block has 64 channels, and each map before it twice as many, up to 1024.
    """
    n = doublings(resolution)
    if not n:
        raise UserError(
            f"generator=resnet: {resolution} px is not 4, 5, 6 or 7 times 2, 4, 8, …, for which networks are known; "
            "give generator.widths, e.g. [512,256,128,64]: the first map's channels, then one per doubling"
        )
    return tuple(min(64 * 2**i, 1024) for i in reversed(range(n + 1)))


@register("generator", "resnet")
class ResNetGenerator(Generator):
    """z -> linear to the first map -> residual blocks, each doubling the sides -> BN-ReLU-conv3-tanh.

    `widths` are the channels after the linear layer and after each block; None takes the published ones of the resolution, or derived ones.
    The first map has the sides of the image / 2^(len(widths) - 1). With labels the blocks' batch norms are conditional and the last one is
    plain (author code). With `attention`, self-attention follows the block whose map has that height (SAGAN).
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        z_dim: ZDim,
        widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=MOST_LAYERS)] | None,
        upsampling: Upsampling,
        attention: PositiveInt | None,
    ):
        super().__init__()
        widths = widths or PUBLISHED_WIDTHS.get(spec.resolution) or derived_widths(min(spec.height, spec.width))
        self.z_dim, self.n_classes = z_dim, spec.n_classes
        self.shape = first_map(spec, widths)
        self.linear = nn.Linear(z_dim, self.shape[0] * self.shape[1] * self.shape[2])
        norm = partial(ConditionalBatchNorm2d, n_classes=spec.n_classes) if spec.n_classes else BatchNorm2d
        self.blocks = nn.ModuleList(
            GeneratorBlock(c_in, c_out, norm=norm, upsampling=upsampling) for c_in, c_out in itertools.pairwise(widths)
        )
        sides = [self.shape[1] * 2 ** (i + 1) for i in range(len(self.blocks))]
        self.attends_after = place_of(attention, sides, key="generator.attention")
        if self.attends_after is not None:
            self.attention = SelfAttention(widths[self.attends_after + 1])
        self.norm = BatchNorm2d(widths[-1])
        self.conv = nn.Conv2d(widths[-1], spec.channels, 3, padding=1)
        initialization.glorot(self)
        nn.init.xavier_uniform_(self.conv.weight)  # the last convolution: gain 1

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert (y is not None) == (self.n_classes > 0), "labels are for conditional generators, and they need them"
        h = self.linear(z).view(-1, *self.shape)  # [N, C, H', W']
        for i, block in enumerate(self.blocks):
            h = block(h, y)  # [N, C', 2H', 2W']
            if i == self.attends_after:
                h = self.attention(h)
        return torch.tanh(self.conv(F.relu(self.norm(h))))  # [N, channels, H, W]
