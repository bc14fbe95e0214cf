"""What the truncation of latents does to images."""

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
    """A row for each latent, a column for each threshold psi of `truncated`; None is the latent itself.

    G stays what it is: its batch-norm statistics are those of latents that are not truncated.
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

    The truncation of Brock et al. 2019 (BigGAN, section 3.1), who draw a component anew while it is outside. Here the same distribution
    comes from the component itself, by the increasing function that maps the one to the other (quantile to quantile), so that nothing
    is drawn, a latent keeps its character, and its image changes gradually with psi. Smaller psi: less variety. The other custom, to
    scale by psi (StyleGAN, of w), is not meant here: of N(0, I) it gives a narrower normal distribution.
    """
    z, limit = z.double(), torch.tensor(psi, dtype=torch.float64)
    below = torch.special.ndtr(-limit)
    inside: Tensor = torch.special.ndtri(below + (1.0 - 2.0 * below) * torch.special.ndtr(z))
    return inside.clamp(-limit, limit).float()
