"""What a report makes anew from a run's last checkpoint: samples of averaged and raw weights, their nearest training images, and its health."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from sngan.doctor.checks import findings
from sngan.doctor.doctor import examine
from sngan.doctor.measures import of_log
from sngan.errors import UserError
from sngan.evaluation.neighbours import N_LOOKED_AT, Neighbours
from sngan.report.embedding import Picture, png
from sngan.runs.checkpoint import find
from sngan.runs.run import Run
from sngan.sampling.grids import grid
from sngan.sampling.trained import load_generator

N_COMPARED = 36
"""Samples of each generator, six a row: the first of those in the run's own grids."""


class Made(NamedTuple):
    """Pictures from a checkpoint, and the reasons for those that are missing."""

    step: int | None
    ema: Picture | None
    raw: Picture | None
    neighbours: Neighbours | None
    health: list[dict[str, Any]]
    """What `sngan doctor` finds, on the same samples; [] where nobody asked."""
    missing: list[str]


def make(run: Run, device: torch.device, *, n_shown: int) -> Made:
    """Samples from the run's last checkpoint; `n_shown=0` leaves out their nearest training images and the run's health, which cost the most."""
    try:
        checkpoint = find(run.path, None)
        config = checkpoint.config()
        ema = load_generator(checkpoint, device=device).sample(max(N_COMPARED, N_LOOKED_AT if n_shown else 0), seed=config.seed)
        raw = load_generator(checkpoint, weights="raw", device=device).sample(N_COMPARED, seed=config.seed)
    except UserError as error:
        return Made(None, None, None, None, [], [f"Averaged beside raw weights, and the nearest training images: {error}"])
    found, health, missing = None, [], []
    if n_shown:
        try:
            examined = examine(checkpoint, config, ema, device, seed=config.seed, features=True, n_shown=n_shown)
            found, health = examined.neighbours, findings({**of_log(run), **examined.numbers})
            if found is None:
                missing = [f"Nearest training images: {examined.numbers['copies']}"]
        except UserError as error:
            missing = [f"Nearest training images: {error}"]
    else:
        missing = ["Nearest training images: left out, as neighbours=0 asks for"]
    shown_ema, shown_raw = (png(grid(images[:N_COMPARED], columns=6)) for images in (ema, raw))
    return Made(checkpoint.step, shown_ema, shown_raw, found, health, missing)
