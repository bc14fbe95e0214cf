"""A small discriminator of four convolutions in the manner of DCGAN (Radford et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import NonNegativeFloat
from torch import Tensor, nn

from sngan.config import Width
from sngan.data.images import ImageSpec, refuse_labels
from sngan.errors import UserError
from sngan.layers import initialization
from sngan.layers.head import Conv2dHead
from sngan.layers.normalization import ActivationNorm
from sngan.layers.singular_values import bound_of_chain
from sngan.registry import register


@register("discriminator", "dcgan")
class DCGANDiscriminator(nn.Module):
    """Three 4x4 stride-2 convolutions to F, 2F, 4F channels, leaky ReLU after each, then a 4x4 one to the logit: [N, C, 32, 32] -> [N].

    Activations are normalised before each leaky ReLU but the first.
    """

    def __init__(self, spec: ImageSpec, norm: ActivationNorm, *, width: Width, slope: NonNegativeFloat):
        super().__init__()
        refuse_labels(spec, "discriminator.name=dcgan")
        if spec.resolution != 32:
            raise UserError(f"discriminator=dcgan is made for 32 px images, not {spec.resolution}; use discriminator=cnn or resnet")
        self.convs = nn.Sequential()
        for i, (c_in, c_out) in enumerate(((spec.channels, width), (width, 2 * width), (2 * width, 4 * width))):
            self.convs.append(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1))
            if i > 0:
                self.convs.append(norm(c_out))
            self.convs.append(nn.LeakyReLU(slope))
        self.convs.append(Conv2dHead(4 * width, 1, 4))
        initialization.normal(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        logits: Tensor = self.convs(x)  # [N, 1, 1, 1]
        return logits.flatten()

    def bound(self, norms: Mapping[str, float]) -> float:
        """An upper bound on D's Lipschitz constant, from the operator norms of all its layers; valid if activations are not normalised."""
        return bound_of_chain(self, norms)
