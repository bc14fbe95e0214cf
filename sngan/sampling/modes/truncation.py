"""Images of truncated latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat

from sngan.registry import register
from sngan.sampling.figures import Sheet
from sngan.sampling.modes.mode import Ask, Table, moving
from sngan.sampling.truncation import truncated


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
