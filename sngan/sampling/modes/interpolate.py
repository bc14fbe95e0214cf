"""A film of interpolated latents."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import PositiveFloat

from sngan.errors import UserError
from sngan.registry import register
from sngan.sampling.figures import Sheet, near_square
from sngan.sampling.interpolation import loop
from sngan.sampling.modes.mode import Ask, Film, moving
from sngan.sampling.video import FPS


@register("mode", "interpolate")
class Interpolate(Film):
    """A panel for each seed, from its first latent to the second, …, to the n-th and back to the first (`interpolation.loop`).

    Each leg takes `seconds`; frame k * seconds * 20 is image k of the seed. A panel keeps its class.
    """

    out, n, n_each = "interpolate.gif", 8, 8

    def __init__(self, *, seconds: PositiveFloat):
        self.per_leg = max(round(seconds * FPS), 1)

    def places(self, ask: Ask) -> int:
        return len(ask.seeds)

    def cells(self, ask: Ask) -> int:
        return len(ask.seeds)

    def check(self, ask: Ask) -> None:
        super().check(ask)
        if ask.n < 2:
            raise UserError(f"n={ask.n}: mode=interpolate goes from one latent of a seed to the next; give n=2 or more")

    def frames(self, ask: Ask) -> int:
        return ask.n * self.per_leg

    def sheets(self, ask: Ask) -> Iterator[Sheet]:
        G, panels = ask.generator(), len(ask.seeds)
        keys = ask.latents(G).unflatten(0, (panels, ask.n))  # [P, n, Z]
        z = torch.stack([loop(of_seed, self.per_leg) for of_seed in keys], dim=1)  # [T, P, Z]
        for images in moving(G, z, ask.y(panels), rounding=ask.rounding):
            yield Sheet(images, near_square(panels), under=ask.names(panels))
