"""Adaptive discriminator augmentation (Karras et al. 2020): as much augmentation as keeps D from overfitting."""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from sngan.augmentations.augmentation import (
    BUFFERS,
    Augmentation,
    P,
    colour,
    gathered,
    whole,
    wide,
    with_colour,
)
from sngan.config import Probability, Sign
from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.layers.head import full_precision
from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.regularizer import Logits

INTERVAL = 4
"""Discriminator updates from one change of p to the next (the authors' `ada_interval`)."""


@register("augment", "ada")
class ADA(Augmentation):
    """Each transformation is made with probability p, independently for each image, in the order and strengths of the authors' `augment.py`:

    blit        mirroring; rotation by a multiple of 90 degrees; translation by whole pixels, at most an eighth of the side
    geometric   scaling by 2^N(0, 0.2^2); rotation before and after scaling of the two axes by s and 1 / s, s = 2^N(0, 0.2^2), each with
                probability 1 - sqrt(1 - p); translation by N(0, 1/8^2) of the side
    color       + N(0, 0.2^2); times 2^N(0, 0.5^2); luma mirrored; hue turned; saturation times 2^N(0, 1)

    After every 4 discriminator updates p rises or falls by their images / `images`, as the mean sign of real logits lies above or below
    `target`, and not below 0. p is a buffer of D, and so in its checkpoints. An image for which nothing was chosen stays as it is, bit for
    bit. Left out of the authors' pipeline: image-space filters, noise and cutout, which they do not recommend, and the two-fold
    supersampling of geometric transformations, in whose place is bilinear interpolation. What lies beyond the edge is mirrored.
    """

    numbers = 28

    def __init__(
        self,
        spec: ImageSpec,
        batch: int,
        *,
        p: Probability,
        target: Sign | None,
        images: PositiveInt,
        blit: bool,
        geometric: bool,
        color: bool,
    ):
        if spec.channels not in (1, 3, 4):
            raise UserError(f"augment=ada is for images of 1, 3 or 4 channels, and these have {spec.channels}; use augment=none")
        if not (blit or geometric or color):
            raise UserError("augment=ada with blit=false, geometric=false and color=false changes no image; use augment=none")
        if target is None and p == 0:
            raise UserError("augment.target=null with augment.p=0 changes no image; give augment.p=0.2, say, or augment.target=0.6")
        self.p, self.target, self.amount = p, target, batch * INTERVAL / images
        self.blit, self.geometric, self.color = blit, geometric, color

    def prepare(self, D: Normalized[nn.Module]) -> None:
        D.refuse_own("", D.network, *BUFFERS)
        for name in BUFFERS:
            D.network.register_buffer(name, torch.tensor(self.p if name == P else 0.0))

    def __call__(self, D: Normalized[nn.Module], x: Tensor, u: Tensor) -> Tensor:
        p = D.network.get_buffer(P)
        x = x.to(full_precision(x.dtype))
        u = u.to(x.dtype)
        if self.blit or self.geometric:
            x = self._moved(x, u, p)
        return with_colour(x, self._coloured(colour(x), u, p)) if self.color else x

    def statistics(self, D: Normalized[nn.Module], logits: Logits) -> dict[str, Tensor]:
        return {"real_signs": logits.real.sign().mean(), P: D.network.get_buffer(P).clone()}

    @torch.no_grad()
    def updated(self, D: Normalized[nn.Module], stats: dict[str, Tensor]) -> None:
        if self.target is None:
            return
        p, signs, updates = (D.network.get_buffer(name) for name in BUFFERS)
        signs += stats["real_signs"]
        updates += 1
        is_due = updates == INTERVAL
        p.copy_(torch.where(is_due, p + self.amount * (signs / INTERVAL - self.target).sign(), p).clamp(min=0))
        for buffer in (signs, updates):
            buffer.masked_fill_(is_due, 0.0)

    def _moved(self, x: Tensor, u: Tensor, p: Tensor) -> Tensor:
        """x at the places to which the chosen transformations lead, from places in the result to places in x, in pixels from the centre."""
        height, width = x.shape[2:]
        moved = Affine(u[:, 0])
        chosen = []

        def applies(i: int, probability: Tensor = p) -> Tensor:
            chosen.append(u[:, i] < probability)
            return chosen[-1]

        if self.blit:
            mirror = torch.where(applies(0), 1 - 2 * whole(u[:, 1], 0, 1), 1)
            moved.scale(mirror, torch.ones_like(mirror))
            moved.rotate(torch.where(applies(2), whole(u[:, 3], 0, 3) * (math.pi / 2), 0))
            shifts = applies(4)
            dx, dy = (torch.where(shifts, ((u[:, i] * 2 - 1) * (side / 8)).round(), 0) for i, side in ((5, width), (6, height)))
            moved.translate(-dx, -dy)
        if self.geometric:
            s = torch.where(applies(7), normal(u[:, 8], 0.2).exp2(), 1)
            moved.scale(1 / s, 1 / s)
            half = 1 - (1 - p).clamp(0, 1).sqrt()
            moved.rotate(torch.where(applies(9, half), (u[:, 10] * 2 - 1) * math.pi, 0))
            s = torch.where(applies(11), normal(u[:, 12], 0.2).exp2(), 1)
            moved.scale(1 / s, s)
            moved.rotate(torch.where(applies(13, half), (u[:, 14] * 2 - 1) * math.pi, 0))
            shifts = applies(15)
            dx, dy = (torch.where(shifts, normal(u[:, i], 1 / 8) * side, 0) for i, side in ((16, width), (17, height)))
            moved.translate(-dx, -dy)
        is_moved = torch.stack(chosen).any(0)
        return torch.where(wide(is_moved), bilinear(x, *moved.places(height, width)), x)

    def _coloured(self, x: Tensor, u: Tensor, p: Tensor) -> Tensor:
        """x in other colours; hue and saturation are for images that have them."""
        before, chosen = x, [u[:, i] < p for i in (18, 20, 22, 24, 26)]
        b, c, i, hue, s = (
            wide(torch.where(applies, value, neutral))
            for applies, value, neutral in zip(
                chosen,
                (
                    normal(u[:, 19], 0.2),
                    normal(u[:, 21], 0.5).exp2(),
                    whole(u[:, 23], 0, 1),
                    (u[:, 25] * 2 - 1) * math.pi,
                    normal(u[:, 27], 1.0).exp2(),
                ),
                (0, 1, 0, 0, 1),
                strict=True,
            )
        )
        x = (x + b) * c
        x = x - 2 * i * x.mean(1, keepdim=True)  # the part along (1, 1, 1)
        if x.shape[1] == 3:
            grey = x.mean(1, keepdim=True)
            across = x.roll(-2, 1) - x.roll(-1, 1)  # the cross product of (1, 1, 1) and x
            x = hue.cos() * x + (1 - hue.cos()) * grey + hue.sin() / math.sqrt(3) * across  # Rodrigues
            x = (x - grey) * s + grey
        else:
            chosen = chosen[:3]
        return torch.where(wide(torch.stack(chosen).any(0)), x, before)


class Affine:
    """x -> A x + t in the plane, for each image; each change is made before those that were there: A B x."""

    def __init__(self, like: Tensor):
        one, zero = torch.ones_like(like), torch.zeros_like(like)
        self.a, self.b, self.c, self.d, self.tx, self.ty = one, zero, zero, one, zero, zero

    def scale(self, sx: Tensor, sy: Tensor) -> None:
        self.a, self.b, self.c, self.d = self.a * sx, self.b * sy, self.c * sx, self.d * sy

    def rotate(self, angle: Tensor) -> None:
        cos, sin = angle.cos(), angle.sin()
        self.a, self.b = self.a * cos + self.b * sin, self.b * cos - self.a * sin
        self.c, self.d = self.c * cos + self.d * sin, self.d * cos - self.c * sin

    def translate(self, dx: Tensor, dy: Tensor) -> None:
        self.tx, self.ty = self.tx + self.a * dx + self.b * dy, self.ty + self.c * dx + self.d * dy

    def places(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Row and column [N, H, W] to which each pixel leads."""
        y, x = (torch.arange(side, dtype=self.a.dtype, device=self.a.device) - (side - 1) / 2 for side in (height, width))
        a, b, c, d, tx, ty = (t[:, None, None] for t in (self.a, self.b, self.c, self.d, self.tx, self.ty))
        row = c * x + d * y[:, None] + ty + (height - 1) / 2
        column = a * x + b * y[:, None] + tx + (width - 1) / 2
        return row, column


def bilinear(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """x [N, C, H, W] between its pixels, at places [N, H, W] in pixels; beyond the edge it is mirrored at the outermost pixels.

    By gathering, because torch's `grid_sample` has no second derivative, which penalties need.
    """
    (top, down), (left, right) = (_around(at, side) for at, side in ((row, x.shape[2]), (column, x.shape[3])))
    y, z = ((_mirrored(at, side) - low)[:, None] for at, side, low in ((row, x.shape[2], top), (column, x.shape[3], left)))
    upper = gathered(x, top, left) * (1 - z) + gathered(x, top, right) * z
    lower = gathered(x, down, left) * (1 - z) + gathered(x, down, right) * z
    return upper * (1 - y) + lower * y


def _mirrored(at: Tensor, side: int) -> Tensor:
    last = max(side - 1, 1)
    return last - (at.remainder(2 * last) - last).abs()


def _around(at: Tensor, side: int) -> tuple[Tensor, Tensor]:
    low = _mirrored(at, side).floor().long().clamp(0, side - 1)
    return low, (low + 1).clamp(max=side - 1)


def normal(u: Tensor, deviation: float) -> Tensor:
    """N(0, deviation^2) from u uniform in [0, 1); not beyond 5 deviations."""
    return torch.erfinv((2 * u - 1).clamp(-1 + 1e-6, 1 - 1e-6)) * (deviation * math.sqrt(2))
