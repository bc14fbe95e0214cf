"""The standard CNN discriminator (paper Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from sngan.config import MOST_LAYERS, Width
from sngan.data.images import ImageSpec, halved
from sngan.discriminators.discriminator import Discriminator, Labels, convolutions
from sngan.layers import initialization
from sngan.layers.head import LinearHead
from sngan.layers.normalization import ActivationNorm
from sngan.layers.singular_values import bound_of_chain
from sngan.registry import register

Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=MOST_LAYERS)]


@register("discriminator", "cnn")
class CNNDiscriminator(Discriminator):
    """3x3 and 4x4 stride-2 convolutions in turn, leaky ReLU after each -> flatten -> linear: x [N, C, H, W] -> logits [N].

    `widths` are the output channels of the convolutions, of which the first is a 3x3 one. Weights start at N(0, 0.02) (author code).
    Activations are normalised before each leaky ReLU but the first (author code, chainer-gan-lib).
    """

    def __init__(self, spec: ImageSpec, norm: ActivationNorm, *, widths: Widths, slope: NonNegativeFloat, labels: Labels):
        super().__init__(spec, labels)
        why, change = f"discriminator.widths={list(widths)} halves the image", "change discriminator.widths"
        height, width = halved(spec, len(widths) // 2, why=why, change=change)  # of the last map
        self.convs = nn.Sequential()
        for i, (c_in, c_out) in enumerate(zip((self.channels, *widths), widths, strict=False)):
            self.convs.append(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1) if i % 2 else nn.Conv2d(c_in, c_out, 3, padding=1))
            if i > 0:
                self.convs.append(norm(c_out))
            self.convs.append(nn.LeakyReLU(slope))
        features = widths[-1] * height * width
        self.linear = LinearHead(features, 1)
        self.add_label_layers(features)
        initialization.normal(self)

    def lowest_blocks(self) -> Sequence[nn.Module]:
        """The convolutions, each with what follows it, from the image up: what `freeze_d` counts."""
        return convolutions(self.convs)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.convs(self.shown(x, y)).flatten(1)  # [N, features]
        return self.judged(self.linear(h).squeeze(1), h, y)

    def bound(self, norms: Mapping[str, float]) -> float:
        """An upper bound on D's Lipschitz constant, from the operator norms of all its layers; valid if activations are not normalised."""
        convs = {name: norm for name, norm in norms.items() if name.startswith("convs.")}
        return bound_of_chain(self, convs) * (norms["linear"] + norms.get("embedding", 0.0))
