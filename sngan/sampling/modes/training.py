"""A film of the training of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from sngan.errors import UserError
from sngan.files import refuse_link
from sngan.registry import register
from sngan.runs.checkpoint import open_checkpoint, steps_saved
from sngan.sampling.figures import Sheet
from sngan.sampling.grids import ungrid
from sngan.sampling.modes.mode import Ask, Film, laid_out
from sngan.sampling.sampling import samples
from sngan.sampling.video import FPS

LAST_S = 2.0
"""Seconds for which the last step is shown in addition."""


@register("mode", "training")
class Training(Film):
    """Images of the same latents at one step of the run after the other, `seconds` each.

    With `samples` these are the grids that the run wrote, with `checkpoints` new samples of the checkpoints that it kept.
    """

    out, n, of_run = "training.gif", 64, True

    def __init__(self, *, source: Literal["samples", "checkpoints"], seconds: PositiveFloat):
        self.source, self.per_step = source, max(round(seconds * FPS), 1)

    def check(self, ask: Ask) -> None:
        super().check(ask)
        if not self._steps(ask):
            raise UserError(f"run={ask.request.run} has no grids of samples (sample_every=0); use mode.source=checkpoints")
        if self.source == "checkpoints":
            return
        given = {"label": ask.request.label, "weights": "raw" if ask.request.weights == "raw" else None}
        if ask.seeds != (ask.config.seed,):
            given["seed"] = ask.request.seed
        for key, value in given.items():
            if value is not None:
                raise UserError(
                    f"{key} with mode.source=samples: the run's grids are of seed={ask.config.seed}, all classes in turn and EMA weights; "
                    f"leave {key} out, or use mode.source=checkpoints"
                )
        there = len(self._images(ask, next(iter(self._steps(ask).values()))))
        if ask.n > there:
            raise UserError(f"n={ask.n}: the run's grids hold {there} images; give a smaller n, or use mode.source=checkpoints")

    def frames(self, ask: Ask) -> int:
        return len(self._steps(ask)) * self.per_step + round(LAST_S * FPS)

    def sheets(self, ask: Ask) -> Iterator[Sheet]:
        for step, path in self._steps(ask).items():
            sheet = laid_out(ask, self._images(ask, path)[: ask.n_latents], f"step {step}")
            yield from [sheet] * self.per_step
        yield from [sheet] * round(LAST_S * FPS)

    def _steps(self, ask: Ask) -> dict[int, Path]:
        """The run's grids or checkpoints, by step."""
        run = ask.request.run
        assert run is not None
        if self.source == "checkpoints":
            return steps_saved(run / "checkpoints")
        refuse_link(run / "samples")
        named = ((re.fullmatch(r"step-([0-9]{1,18})\.png", path.name), path) for path in (run / "samples").glob("*.png"))
        return dict(sorted((int(match[1]), path) for match, path in named if match))

    def _images(self, ask: Ask, path: Path) -> Tensor:
        if self.source == "samples":
            return ungrid(path, ask.checkpoint.spec)
        G = ask.generator(open_checkpoint(path))
        return torch.cat(list(samples(G, ask.latents(G), ask.y(ask.n_latents), rounding=ask.rounding)))
