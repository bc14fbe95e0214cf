"""DiffAugment (Zhao et al. 2020): colour, translation and cutout of every image that D sees."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sngan.augmentations.augmentation import Augmentation, colour, gathered, whole, wide, with_colour
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.layers.head import full_precision
from sngan.layers.normalized import Normalized
from sngan.registry import register

Part = Annotated[float, Field(ge=0.0, le=1.0)]


@register("augment", "diffaugment")
class DiffAugment(Augmentation):
    """In this order, each for every image, as in the authors' `DiffAugment_pytorch.py`:

    color         + U[-0.5, 0.5); the distance of each channel from the pixel's mean times U[0, 2); that of each value from the image's mean
                  times U[0.5, 1.5)
    translation   by whole pixels, uniform, at most this part of height and width; what comes in is 0
    cutout        a rectangle of this part of height and width is 0, its centre uniform in the image
    """

    numbers = 7

    def __init__(self, spec: ImageSpec, batch: int, *, color: bool, translation: Part, cutout: Part):
        self.color = color
        self.most = [int(side * translation + 0.5) for side in (spec.height, spec.width)]
        self.hole = [int(side * cutout + 0.5) for side in (spec.height, spec.width)]
        if not color and not any(self.most) and not all(self.hole):
            raise UserError("augment=diffaugment with color=false, translation=0 and cutout=0 changes no image; use augment=none")

    def __call__(self, D: Normalized[nn.Module], x: Tensor, u: Tensor) -> Tensor:
        x = x.to(full_precision(x.dtype))
        u = u.to(x.dtype)
        if self.color:
            c = colour(x) + wide(u[:, 0] - 0.5)
            grey = c.mean(1, keepdim=True)
            c = (c - grey) * wide(u[:, 1] * 2) + grey
            mean = c.mean((1, 2, 3), keepdim=True)
            x = with_colour(x, (c - mean) * wide(u[:, 2] + 0.5) + mean)
        if any(self.most):
            x = self._translated(x, u[:, 3:5])
        return x * self._kept(x, u[:, 5:7]) if all(self.hole) else x

    def _translated(self, x: Tensor, u: Tensor) -> Tensor:
        places, inside = [], []
        for i, (side, most) in enumerate(zip(x.shape[2:], self.most, strict=True)):
            place = torch.arange(side, device=x.device) + whole(u[:, i, None], -most, most).long()  # [N, side]
            places.append(place.clamp(0, side - 1))
            inside.append((place >= 0) & (place < side))
        shape = (len(x), *x.shape[2:])
        row, column = places[0][:, :, None].expand(shape), places[1][:, None].expand(shape)
        is_inside = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # [N, 1, H, W]
        return torch.where(is_inside, gathered(x, row, column), torch.zeros((), dtype=x.dtype, device=x.device))

    def _kept(self, x: Tensor, u: Tensor) -> Tensor:
        """1 outside the hole and 0 in it, [N, 1, H, W]."""
        within = []
        for i, (side, size) in enumerate(zip(x.shape[2:], self.hole, strict=True)):
            first = whole(u[:, i, None], 0, side - size % 2) - size // 2
            place = torch.arange(side, device=x.device)
            within.append((place >= first) & (place < first + size))  # [N, side]
        return (~(within[0][:, None, :, None] & within[1][:, None, None, :])).to(x.dtype)
