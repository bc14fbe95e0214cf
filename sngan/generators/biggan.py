"""The BigGAN generator (Brock et al. 2019, Appendix B): a shared embedding of classes, and a part of the latent for each block."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Width, ZDim
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.generators.generator import Generator, first_map
from sngan.layers import initialization
from sngan.layers.attention import SelfAttention, place_of
from sngan.layers.batch_norm import BatchNorm2d
from sngan.layers.conditional import ConditionedBatchNorm2d
from sngan.layers.lookup import rows
from sngan.layers.residual import GeneratorBlock
from sngan.registry import register


@register("generator", "biggan")
class BigGANGenerator(Generator):
    """The first part of z -> linear to M x M -> residual blocks, each doubling the side -> BN-ReLU-conv3-tanh.

    z is split into one part for the linear layer and one for each block. The scales and shifts of a block's batch norms are linear in its
    part of z and, with labels, in an embedding of the class that all blocks share. `widths` are the channels after the linear layer and
    after each block. Weights start orthogonal.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        z_dim: ZDim,
        widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=MOST_LAYERS)],
        shared_dim: ZDim,
        attention: PositiveInt | None,
    ):
        super().__init__()
        if z_dim % len(widths):
            raise UserError(
                f"generator.z_dim={z_dim} cannot be split into a part for the linear layer and one for each of {len(widths) - 1} blocks; "
                f"use a multiple of {len(widths)}"
            )
        self.z_dim, self.n_classes = z_dim, spec.n_classes
        self.part = z_dim // len(widths)
        condition = self.part
        if spec.n_classes:
            # a parameter rather than an embedding layer: it is not normalised (authors' PyTorch code)
            self.shared = nn.Parameter(nn.init.orthogonal_(torch.empty(spec.n_classes, shared_dim)))
            condition += shared_dim
        self.shape = first_map(spec, widths)
        self.linear = nn.Linear(self.part, self.shape[0] * self.shape[1] * self.shape[2])
        norm = partial(ConditionedBatchNorm2d, features=condition)
        self.blocks = nn.ModuleList(GeneratorBlock(c_in, c_out, norm=norm) for c_in, c_out in itertools.pairwise(widths))
        sides = [self.shape[1] * 2 ** (i + 1) for i in range(len(self.blocks))]
        self.attends_after = place_of(attention, sides, key="generator.attention")
        if self.attends_after is not None:
            self.attention = SelfAttention(widths[self.attends_after + 1])
        self.norm = BatchNorm2d(widths[-1])
        self.conv = nn.Conv2d(widths[-1], spec.channels, 3, padding=1)
        initialization.orthogonal(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert (y is not None) == (self.n_classes > 0), "labels are for conditional generators, and they need them"
        first, *parts = z.split(self.part, dim=1)
        shared = () if y is None else (rows(self.shared, y),)  # [N, shared_dim]
        h = self.linear(first).view(-1, *self.shape)  # [N, C, M, M]
        for i, (block, part) in enumerate(zip(self.blocks, parts, strict=True)):
            h = block(h, torch.cat([*shared, part], dim=1))  # [N, C', 2M, 2M]
            if i == self.attends_after:
                h = self.attention(h)
        return torch.tanh(self.conv(F.relu(self.norm(h))))  # [N, channels, H, W]
