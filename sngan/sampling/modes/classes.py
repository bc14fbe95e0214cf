"""The classes of a conditional generator, side by side."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import PositiveFloat

from sngan.errors import UserError
from sngan.registry import register
from sngan.sampling.figures import Sheet
from sngan.sampling.modes.mode import Ask, Table, moving


@register("mode", "classes")
class Classes(Table):
    """A row for each class, a column for each latent; all rows have the same latents."""

    out, n = "classes.png", 8

    def __init__(self, *, seconds: PositiveFloat | None):
        super().__init__(seconds)

    def places(self, ask: Ask) -> int:
        return len(ask.labels)

    def cells(self, ask: Ask) -> int:
        return len(ask.labels) * ask.n_latents

    def check(self, ask: Ask) -> None:
        super().check(ask)
        if not ask.labels:
            raise UserError(
                "mode=classes: this run is unconditional and has no classes; take mode=images, or a run with conditional=true"
            )

    def sheets(self, ask: Ask) -> Iterator[Sheet]:
        G = ask.generator()
        z = self.ways(ask, ask.latents(G)).repeat(1, len(ask.labels), 1)  # [T, rows * columns, Z]
        labels = torch.tensor(ask.labels).repeat_interleave(ask.n_latents)
        heads = [f"seed {seed}" for seed in ask.seeds for _ in range(ask.n)] if len(ask.seeds) > 1 else ()
        for images in moving(G, z, labels, rounding=ask.rounding):
            yield Sheet(images, ask.n_latents, heads=heads, sides=[f"class {label}" for label in ask.labels])
