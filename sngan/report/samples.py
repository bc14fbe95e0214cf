"""What a report makes anew from a run's last checkpoint: samples of averaged and raw weights, and their nearest training images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sngan.config import Config
from sngan.errors import UserError
from sngan.report.embedding import Picture, png
from sngan.report.neighbours import N_LOOKED_AT, Neighbours, neighbours
from sngan.runs.checkpoint import Checkpoint, find, load_generator
from sngan.sampling.grids import grid
from sngan.sampling.rounding import rounding_for
from sngan.sampling.sampling import balanced_labels, latents, prepared, samples

N_COMPARED = 36
"""Samples of each generator, six a row: the first of those in the run's own grids."""


class Made(NamedTuple):
    """Pictures from a checkpoint, and the reasons for those that are missing."""

    step: int | None
    ema: Picture | None
    raw: Picture | None
    neighbours: Neighbours | None
    missing: list[str]


def make(run: Path, device: torch.device, *, n_shown: int) -> Made:
    """Samples from the run's last checkpoint; `n_shown=0` leaves out the nearest training images, which cost the most."""
    try:
        checkpoint = find(run, None)
        config = checkpoint.config()
        ema = _images(checkpoint, config, "ema", device, n=max(N_COMPARED, N_LOOKED_AT if n_shown else 0))
        raw = _images(checkpoint, config, "raw", device, n=N_COMPARED)
    except UserError as error:
        return Made(None, None, None, None, [f"Averaged beside raw weights, and the nearest training images: {error}"])
    found, missing = None, []
    if n_shown:
        try:
            found = neighbours(config, checkpoint.spec, ema, device, n_shown=n_shown)
        except UserError as error:
            missing = [f"Nearest training images: {error}"]
    else:
        missing = ["Nearest training images: left out, as neighbours=0 asks for"]
    shown_ema, shown_raw = (png(grid(images[:N_COMPARED], columns=6)) for images in (ema, raw))
    return Made(checkpoint.step, shown_ema, shown_raw, found, missing)


def _images(checkpoint: Checkpoint, config: Config, weights: Literal["ema", "raw"], device: torch.device, *, n: int) -> Tensor:
    """The first n samples uint8 [n, C, H, W] of the run's seed, on the CPU."""
    G, _ = prepared(load_generator(checkpoint, weights=weights).to(device), config, weights)
    z, y = latents(n, G.z_dim, seed=config.seed), balanced_labels(n, G.n_classes)
    return torch.cat([batch.cpu() for batch in samples(G, z, y, rounding=rounding_for(config.data))])
