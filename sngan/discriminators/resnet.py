"""The ResNet discriminator (paper Tables 4-6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Resolution, Width
from sngan.data.images import ImageSpec, halved
from sngan.discriminators.discriminator import Discriminator, Labels
from sngan.errors import UserError
from sngan.layers import initialization
from sngan.layers.attention import SelfAttention, place_of
from sngan.layers.head import LinearHead, full_precision
from sngan.layers.map_sizes import doublings
from sngan.layers.normalization import ActivationNorm
from sngan.layers.residual import DiscriminatorBlock, FirstDiscriminatorBlock
from sngan.registry import register

Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=MOST_LAYERS)]


class Description(NamedTuple):
    """A ResNet discriminator: each block's output channels, whether it halves the side, and whether the head has a bias."""

    widths: tuple[int, ...]
    downsample: tuple[bool, ...]
    head_bias: bool


PUBLISHED: dict[Resolution, Description] = {
    32: Description((128, 128, 128, 128), (True, True, False, False), head_bias=False),
    48: Description((64, 128, 256, 512, 1024), (True, True, True, True, False), head_bias=True),
    64: Description((64, 128, 256, 512, 1024), (True, True, True, True, True), head_bias=True),
    128: Description((64, 128, 256, 512, 1024, 1024), (True, True, True, True, True, False), head_bias=True),
}
"""The published networks by resolution (32: paper Table 4; 48: Table 5; 64: author code; 128: Table 6); the head's bias as in the author code."""


def derived(resolution: int) -> Description:
    """A network for a resolution without a published one, by the rule of the one for 128 px.

    Blocks of 64 channels, then twice as many each time up to 1024, halve the side down to one from 4 to 7; one block more keeps it.
    """
    halvings = doublings(resolution)
    if not halvings:
        raise UserError(
            f"discriminator=resnet: {resolution} px is not 4, 5, 6 or 7 times 2, 4, 8, …, for which networks are known; "
            "give discriminator.widths and discriminator.downsample, e.g. [64,128,256] and [true,true,false]"
        )
    widths = tuple(min(64 * 2**i, 1024) for i in range(halvings + 1))
    return Description(widths, (True,) * halvings + (False,), head_bias=True)


class ResNetDiscriminator(Discriminator):
    """Residual blocks -> ReLU -> sum over H, W -> linear: x [N, C, H, W] -> logits [N].

    Activations are normalised before each ReLU of every block but the first (Gulrajani et al. 2017). With `attention`, self-attention
    follows the block whose map has that side (SAGAN).
    """

    def __init__(
        self,
        spec: ImageSpec,
        norm: ActivationNorm,
        description: Description,
        *,
        hidden: Literal["input", "output"],
        shortcut: Literal["input", "relu"],
        labels: Labels,
        attention: int | None,
        init: Literal["glorot", "orthogonal"],
    ):
        super().__init__(spec, labels)
        widths, downsample, head_bias = description
        why, change = f"discriminator.downsample={list(downsample)} halves the image", "change discriminator.downsample"
        self.last_map = halved(spec, sum(downsample), why=why, change=change)
        sides: list[int] = [spec.height // 2 ** sum(downsample[: i + 1]) for i in range(len(widths))]
        self.blocks = nn.Sequential(FirstDiscriminatorBlock(self.channels, widths[0], downsample=downsample[0]))
        for c_in, c_out, down in zip(widths, widths[1:], downsample[1:], strict=False):
            c_hidden = c_in if hidden == "input" else c_out
            rectified = shortcut == "relu"
            self.blocks.append(DiscriminatorBlock(c_in, c_out, c_hidden=c_hidden, downsample=down, rectified=rectified, norm=norm))
        self.attends_after = place_of(attention, sides, key="discriminator.attention")
        if self.attends_after is not None:
            self.attention = SelfAttention(widths[self.attends_after])
        self.linear = LinearHead(widths[-1], 1, bias=head_bias)
        self.add_label_layers(widths[-1])
        initialization.by_name(init, self)

    def lowest_blocks(self) -> Sequence[nn.Module]:
        """The residual blocks, from the image up: what `freeze_d` counts."""
        return list(self.blocks)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.shown(x, y)
        for i, block in enumerate(self.blocks):
            h = block(h)
            if i == self.attends_after:
                h = self.attention(h)
        h = F.relu(h)  # [N, C, H, W]
        h = h.sum((2, 3), dtype=full_precision(h.dtype))  # [N, C]
        return self.judged(self.linear(h).squeeze(1), h, y)

    def bound(self, norms: Mapping[str, float]) -> float:
        """An upper bound on the Lipschitz constant of x -> D(x, y) for every y, from the layers' operator norms by name.

        The blocks' bounds multiply. The sum over H, W has norm sqrt(H W). After it come a row of `linear` and, if there is one, a row of
        `embedding`, whose norms add. Valid if activations are not normalised and there is no attention.
        """
        product = 1.0
        blocks: Any = self.blocks
        for i, block in enumerate(blocks):
            prefix = f"blocks.{i}."
            product *= block.bound({name.removeprefix(prefix): norm for name, norm in norms.items() if name.startswith(prefix)})
        return product * math.sqrt(math.prod(self.last_map)) * (norms["linear"] + norms.get("embedding", 0.0))


@register("discriminator", "resnet")
def resnet(
    spec: ImageSpec,
    norm: ActivationNorm,
    *,
    widths: Widths | None,
    downsample: tuple[bool, ...] | None,
    hidden: Literal["input", "output"],
    shortcut: Literal["input", "relu"],
    head_bias: bool | None,
    labels: Labels,
    attention: PositiveInt | None,
    init: Literal["glorot", "orthogonal"],
) -> ResNetDiscriminator:
    """The ResNet; `widths`, `downsample` and `head_bias` that are None are as published for the resolution, or `derived` for others.

    `hidden` chooses the width between a block's two convolutions: that of its input (author code) or of its output (BigGAN, other codes).
    `shortcut` chooses what a block's shortcut takes: its input x (author code) or relu(x) (codes with a ReLU in place).
    """
    known = PUBLISHED.get(spec.resolution) or (
        Description((), (), head_bias=True) if widths and downsample else derived(min(spec.height, spec.width))
    )
    widths, downsample = widths or known.widths, downsample or known.downsample
    if len(widths) != len(downsample):
        raise UserError(
            f"discriminator.widths has {len(widths)} blocks and discriminator.downsample {len(downsample)}; give one entry a block in both"
        )
    head_bias = known.head_bias if head_bias is None else head_bias
    description = Description(widths, downsample, head_bias)
    return ResNetDiscriminator(
        spec, norm, description, hidden=hidden, shortcut=shortcut, labels=labels, attention=attention, init=init
    )
