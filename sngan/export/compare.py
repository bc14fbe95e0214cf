"""Whether an exported file makes the generator's images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from sngan.config import Rounding
from sngan.errors import UserError
from sngan.export.formats.format import Format, Inputs
from sngan.export.request import Export
from sngan.precision import precision
from sngan.sampling.rounding import quantize
from sngan.sampling.sampling import balanced_labels, latents
from sngan.sampling.trained import TrainedGenerator
from sngan.sampling.truncation import truncated

N_COMPARED, BATCHES = 64, (1, 63)
"""Latents whose images are compared, in batches of these sizes, because a file may be right for one size alone."""

MOST_APART = 1e-4
"""The largest difference of two values in [-1, 1]; two runtimes sum in different orders, which gives some 1e-6."""

MOST_LEVELS_APART = 1e-3
"""The largest share of values uint8 that differ, and then by one level: those that lie at the edge between two."""


class Compared(NamedTuple):
    """How far a file's images are from the generator's."""

    n: int
    largest: float
    """Of [-1, 1], or in levels of uint8."""
    share: float
    """Of the values that differ."""


def compare(how: Format, path: Path, G: TrainedGenerator, request: Export) -> Compared:
    """Compares the file's images of the first latents of seed 0 with G's; raises `UserError` if they differ by more than rounding."""
    run, inputs = how.load(path), inputs_of(G, N_COMPARED)
    made = torch.cat([run(part) for part in zip(*(tensor.split(BATCHES) for tensor in inputs), strict=True)])
    expected = _expected(G, inputs, rounding=G.rounding if request.uint8 else None, truncation=request.truncation)
    if made.shape != expected.shape or made.dtype != expected.dtype:
        raise UserError(_different(how, f"images are {made.dtype} {list(made.shape)}, not {expected.dtype} {list(expected.shape)}"))
    apart = (made.double() - expected.double()).abs()
    compared = Compared(N_COMPARED, apart.max().item(), (apart > 0).double().mean().item())
    most, share = (1.0, MOST_LEVELS_APART) if request.uint8 else (MOST_APART, 1.0)
    if not (compared.largest <= most and compared.share <= share):  # also for NaN
        raise UserError(_different(how, f"values differ by up to {compared.largest:.3g}, {100 * compared.share:.3g} % of them"))
    return compared


def _different(how: Format, said: str) -> str:
    return f"{how.file} as {how.runtime} runs it makes other images than the generator: {said}\nnothing was written; take another format"


def inputs_of(G: TrainedGenerator, n: int) -> Inputs:
    """The first n latents of seed 0, and labels in turn for a conditional generator."""
    z, y = latents(n, G.z_dim, seed=0), balanced_labels(n, G.n_classes)
    return (z,) if y is None else (z, y)


@torch.no_grad()
def _expected(G: TrainedGenerator, inputs: Inputs, *, rounding: Rounding | None, truncation: float | None) -> torch.Tensor:
    """What G makes of z, truncated in float64 by the definition."""
    z, *y = inputs
    with precision("fp32", torch.device("cpu")):
        x = G(z if truncation is None else truncated(z, truncation), *y)
    return x if rounding is None else quantize(x, rounding)
