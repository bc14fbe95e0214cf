"""A small discriminator of four convolutions in the manner of DCGAN (Radford et al. 2016)."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from sngan.data.images import ImageSpec, refuse_labels
from sngan.errors import UserError
from sngan.layers import initialization
from sngan.layers.spectral_norm import SpectralNorm
from sngan.registry import register


class DCGANDiscriminator(nn.Module):
    """Three 4x4 stride-2 convolutions to F, 2F, 4F channels, leaky ReLU after each, then a 4x4 one to the logit: [N, C, 32, 32] -> [N]."""

    def __init__(self, spec: ImageSpec, *, width: int, slope: float):
        super().__init__()
        if spec.resolution != 32:
            raise UserError(f"discriminator=dcgan is made for 32 px images, not {spec.resolution}; use discriminator=cnn or resnet")
        self.convs = nn.Sequential()
        for c_in, c_out in ((spec.channels, width), (width, 2 * width), (2 * width, 4 * width)):
            self.convs.append(nn.Conv2d(c_in, c_out, 4, stride=2, padding=1))
            self.convs.append(nn.LeakyReLU(slope))
        self.convs.append(nn.Conv2d(4 * width, 1, 4))
        initialization.normal(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.convs(x).flatten()  # [N]


@register("discriminator", "dcgan")
def dcgan(spec: ImageSpec, *, width: PositiveInt, slope: NonNegativeFloat) -> SpectralNorm:
    """The small discriminator with spectral norm on every layer."""
    refuse_labels(spec, "discriminator.name=dcgan")
    return SpectralNorm(DCGANDiscriminator(spec, width=width, slope=slope))
