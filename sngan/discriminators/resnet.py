"""The ResNet discriminator (paper Tables 4-6), with projection for labels (Miyato & Koyama 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Width
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.layers import initialization
from sngan.layers.head import LinearHead, full_precision
from sngan.layers.normalization import ActivationNorm
from sngan.layers.residual import DiscriminatorBlock, FirstDiscriminatorBlock
from sngan.registry import register

Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=MOST_LAYERS)]


class Description(NamedTuple):
    """A ResNet discriminator: each block's output channels, whether it halves the side, and whether the head has a bias."""

    widths: tuple[int, ...]
    downsample: tuple[bool, ...]
    head_bias: bool


PUBLISHED = {
    32: Description((128, 128, 128, 128), (True, True, False, False), head_bias=False),
    48: Description((64, 128, 256, 512, 1024), (True, True, True, True, False), head_bias=True),
    64: Description((64, 128, 256, 512, 1024), (True, True, True, True, True), head_bias=True),
    128: Description((64, 128, 256, 512, 1024, 1024), (True, True, True, True, True, False), head_bias=True),
}
"""The published networks by resolution (32: paper Table 4; 48: Table 5; 64: author code; 128: Table 6); the head's bias as in the author code."""


class ResNetDiscriminator(nn.Module):
    """Residual blocks -> ReLU -> sum over H, W -> linear: x [N, C, H, W] -> logits [N].

    With `n_classes` > 0 the logit is linear(h) + <embedding(y), h> for features h [N, C] and labels y int64 [N]. Activations are
    normalised before each ReLU of every block but the first (Gulrajani et al. 2017).
    """

    def __init__(self, spec: ImageSpec, norm: ActivationNorm, description: Description, *, hidden: Literal["input", "output"]):
        super().__init__()
        widths, downsample, head_bias = description
        self.n_classes = spec.n_classes
        self.side_of_last_map: int = spec.resolution // 2 ** sum(downsample)
        self.blocks = nn.Sequential(FirstDiscriminatorBlock(spec.channels, widths[0], downsample=downsample[0]))
        for c_in, c_out, down in zip(widths, widths[1:], downsample[1:], strict=False):
            c_hidden = c_in if hidden == "input" else c_out
            self.blocks.append(DiscriminatorBlock(c_in, c_out, c_hidden=c_hidden, downsample=down, norm=norm))
        self.linear = LinearHead(widths[-1], 1, bias=head_bias)
        if spec.n_classes:
            self.embedding = nn.Embedding(spec.n_classes, widths[-1])
        initialization.glorot(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        assert (y is not None) == (self.n_classes > 0), "labels are for conditional discriminators, and they need them"
        h = F.relu(self.blocks(x))  # [N, C, H, W]
        h = h.sum((2, 3), dtype=full_precision(h.dtype))  # [N, C]
        logits: Tensor = self.linear(h).squeeze(1)  # [N]
        if y is not None:
            logits = logits + (self.embedding(y) * h).sum(1)
        return logits

    def bound(self, norms: Mapping[str, float]) -> float:
        """An upper bound on the Lipschitz constant of x -> D(x, y) for every y, from the layers' operator norms by name.

        The blocks' bounds multiply. The sum over H, W has norm sqrt(H W). After it come a row of `linear` and, if there are labels, one of
        `embedding`, whose norms add. Valid if activations are not normalised.
        """
        product = 1.0
        blocks: Any = self.blocks
        for i, block in enumerate(blocks):
            prefix = f"blocks.{i}."
            product *= block.bound({name.removeprefix(prefix): norm for name, norm in norms.items() if name.startswith(prefix)})
        return product * self.side_of_last_map * (norms["linear"] + norms.get("embedding", 0.0))


@register("discriminator", "resnet")
def resnet(
    spec: ImageSpec,
    norm: ActivationNorm,
    *,
    widths: Widths | None,
    downsample: tuple[bool, ...] | None,
    hidden: Literal["input", "output"],
    head_bias: bool | None,
) -> ResNetDiscriminator:
    """The ResNet; options that are None are as published for the resolution.

    `hidden` chooses the width between a block's two convolutions: that of its input (author code) or of its output (other codes).
    """
    published = PUBLISHED.get(spec.resolution, Description((), (), head_bias=True))
    widths, downsample = widths or published.widths, downsample or published.downsample
    if not (widths and downsample):
        raise UserError(
            f"discriminator=resnet is published for {', '.join(map(str, PUBLISHED))} px, not {spec.resolution}; "
            "give discriminator.widths and discriminator.downsample, e.g. [64,128,256] and [true,true,false]"
        )
    if len(widths) != len(downsample):
        raise UserError(
            f"discriminator.widths has {len(widths)} blocks and discriminator.downsample {len(downsample)}; give one entry a block in both"
        )
    if spec.resolution % 2 ** sum(downsample):
        raise UserError(
            f"discriminator.downsample={list(downsample)} halves the image {sum(downsample)} times, so the resolution must be a multiple "
            f"of {2 ** sum(downsample)}, not {spec.resolution}"
        )
    head_bias = published.head_bias if head_bias is None else head_bias
    return ResNetDiscriminator(spec, norm, Description(widths, downsample, head_bias), hidden=hidden)
