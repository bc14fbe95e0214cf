"""The standard CNN discriminator (paper Table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Width
from sngan.data.images import ImageSpec, refuse_labels
from sngan.errors import UserError
from sngan.layers import initialization
from sngan.layers.head import LinearHead
from sngan.layers.normalization import ActivationNorm
from sngan.layers.singular_values import bound_of_chain
from sngan.registry import register

Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=MOST_LAYERS)]


@register("discriminator", "cnn")
class CNNDiscriminator(nn.Module):
    """3x3 and 4x4 stride-2 convolutions in turn, leaky ReLU after each -> flatten -> linear: x [N, C, H, W] -> logits [N].

    `widths` are the output channels of the convolutions, of which the first is a 3x3 one. Weights start at N(0, 0.02) (author code).
    Activations are normalised before each leaky ReLU but the first (author code, chainer-gan-lib).
    """

    def __init__(self, spec: ImageSpec, norm: ActivationNorm, *, widths: Widths, slope: NonNegativeFloat):
        super().__init__()
        refuse_labels(spec, "discriminator.name=cnn")
        factor = 2 ** (len(widths) // 2)
        if spec.resolution % factor:
            raise UserError(
                f"discriminator.widths={list(widths)} halves the image {len(widths) // 2} times, so the resolution must be a multiple of {factor}, "
                f"not {spec.resolution}; change discriminator.widths or the images"
            )
        self.convs = nn.Sequential()
        for i, (c_in, c_out) in enumerate(zip((spec.channels, *widths), widths, strict=False)):
            self.convs.append(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1) if i % 2 else nn.Conv2d(c_in, c_out, 3, padding=1))
            if i > 0:
                self.convs.append(norm(c_out))
            self.convs.append(nn.LeakyReLU(slope))
        self.linear = LinearHead(widths[-1] * (spec.resolution // factor) ** 2, 1)
        initialization.normal(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        logits: Tensor = self.linear(self.convs(x).flatten(1))  # [N, 1]
        return logits.squeeze(1)

    def bound(self, norms: Mapping[str, float]) -> float:
        """An upper bound on D's Lipschitz constant, from the operator norms of all its layers; valid if activations are not normalised."""
        return bound_of_chain(self, norms)
