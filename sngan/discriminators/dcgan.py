"""A discriminator of stride-2 convolutions alone, in the manner of DCGAN (Radford et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import NonNegativeFloat
from torch import Tensor, nn

from sngan.config import Width
from sngan.data.images import ImageSpec, halved
from sngan.discriminators.discriminator import Discriminator, Labels, convolutions
from sngan.errors import UserError
from sngan.layers import initialization
from sngan.layers.head import Conv2dHead
from sngan.layers.map_sizes import doublings
from sngan.layers.normalization import ActivationNorm
from sngan.layers.singular_values import bound_of_chain
from sngan.registry import register


@register("discriminator", "dcgan")
class DCGANDiscriminator(Discriminator):
    """4x4 stride-2 convolutions down to a map with a side from 4 to 7, leaky ReLU after each, then one of its size: [N, C, H, W] -> [N].

    The first convolution makes `width` channels, each further one twice as many as the one before: F, 2F, 4F at 32 px and F to 8F at 64 px,
    as published. Activations are normalised before each leaky ReLU but the first.
    """

    def __init__(self, spec: ImageSpec, norm: ActivationNorm, *, width: Width, slope: NonNegativeFloat, labels: Labels):
        super().__init__(spec, labels)
        halvings = doublings(min(spec.height, spec.width))
        if not halvings:
            raise UserError(
                f"discriminator=dcgan halves the shorter side down to 4, 5, 6 or 7 px, which {spec.size} px does not come to; "
                "use discriminator=cnn or resnet, or other images"
            )
        change = "use discriminator=cnn or resnet"
        last_map = halved(spec, halvings, why="discriminator=dcgan halves the image", change=change)
        self.convs = nn.Sequential()
        c_in = self.channels
        for c_out in (width * 2**i for i in range(halvings)):
            self.convs.append(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1))
            if c_out > width:
                self.convs.append(norm(c_out))
            self.convs.append(nn.LeakyReLU(slope))
            c_in = c_out
        self.convs.append(Conv2dHead(c_in, 1, last_map))
        self.add_label_layers(c_in * math.prod(last_map))
        initialization.normal(self)

    def lowest_blocks(self) -> Sequence[nn.Module]:
        """The convolutions, each with what follows it, without the head, from the image up: what `freeze_d` counts."""
        return convolutions(self.convs)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.convs[:-1](self.shown(x, y))  # [N, C, H', W']
        return self.judged(self.convs[-1](h).flatten(), h.flatten(1), y)

    def bound(self, norms: Mapping[str, float]) -> float:
        """An upper bound on D's Lipschitz constant, from the operator norms of all its layers; valid if activations are not normalised."""
        head = f"convs.{len(self.convs) - 1}"
        convs = {name: norm for name, norm in norms.items() if name.startswith("convs.") and name != head}
        return bound_of_chain(self, convs) * (norms[head] + norms.get("embedding", 0.0))
