"""Images of truncated latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from sngan.registry import register
from sngan.sampling.figures import Sheet
from sngan.sampling.modes.mode import Ask, Table, moving


@register("mode", "truncation")
class Truncation(Table):
    """A row for each latent, a column for each threshold psi of `truncated`; None does not truncate.

    The batch-norm statistics of G stay those of latents that are not truncated.
    """

    out, n = "truncation.png", 8

    def __init__(self, *, psi: Annotated[tuple[NonNegativeFloat | None, ...], Field(min_length=1)], seconds: PositiveFloat | None):
        super().__init__(seconds)
        self.psi = psi

    def cells(self, ask: Ask) -> int:
        return ask.n_latents * len(self.psi)

    def sheets(self, ask: Ask) -> Iterator[Sheet]:
        G = ask.generator()
        z = self.ways(ask, ask.latents(G))  # [T, rows, Z]
        z = torch.stack([z if psi is None else truncated(z, psi) for psi in self.psi], dim=2)  # [T, rows, columns, Z]
        y = ask.y(ask.n_latents)
        labels = None if y is None else y.repeat_interleave(len(self.psi))
        heads = ["none" if psi is None else f"{psi:g}" for psi in self.psi]
        for images in moving(G, z.flatten(1, 2), labels, rounding=ask.rounding):
            yield Sheet(images, len(self.psi), "truncation psi", heads=heads, sides=ask.names(ask.n_latents))


def truncated(z: Tensor, psi: float) -> Tensor:
    """Latents N(0, I) as latents of the normal distribution truncated to [-psi, psi] in each component.

    Brock et al. 2019 (BigGAN, section 3.1) resample a component while it is outside. Here the same distribution comes from the
    component itself, which is mapped from quantile to quantile: no number is sampled, and the image changes gradually with psi. A smaller
    psi gives less variety. To scale by psi, as StyleGAN does with w, would give a narrower normal distribution instead.
    """
    z, limit = z.double(), torch.tensor(psi, dtype=torch.float64)
    below = torch.special.ndtr(-limit)
    inside: Tensor = torch.special.ndtri(below + (1.0 - 2.0 * below) * torch.special.ndtr(z))
    return inside.clamp(-limit, limit).float()
