"""Samples of a checkpoint as pictures and films; each mode is a file of `modes/`."""

from __future__ import annotations

from pathlib import Path

from sngan import devices
from sngan.config import MOST_SAMPLES
from sngan.errors import UserError
from sngan.registry import build
from sngan.runs.checkpoint import find
from sngan.sampling.modes.mode import Ask, Mode
from sngan.sampling.request import Sample

MOST_CELLS = 1000
"""The most images in one picture; more would be too small to see."""


def sample(request: Sample) -> str:
    """Writes the files of the request's mode and returns a line that names them. Raises `UserError` before anything is sampled."""
    mode: Mode = build("mode", request.mode)
    ask = _definite(request, mode)
    _check(ask, mode)
    mode.check(ask)
    return mode.make(ask)


def _definite(request: Sample, mode: Mode) -> Ask:
    """The request with its defaults filled in."""
    device = devices.resolve(request.device)
    checkpoint = find(request.run, request.checkpoint)
    config, n_classes = checkpoint.config(), checkpoint.spec.n_classes
    seeds = request.seed or (config.seed if mode.of_run else 0,)
    if request.label and not n_classes:
        raise UserError(f"label={_said(request.label)}: this run is unconditional; leave label out")
    if request.label and max(request.label) >= n_classes:
        raise UserError(f"label={_said(request.label)}: the classes are 0 to {n_classes - 1}")
    return Ask(
        request=request,
        checkpoint=checkpoint,
        config=config,
        seeds=seeds,
        n=request.n or (mode.n if len(seeds) == 1 else mode.n_each),
        labels=request.label or tuple(range(n_classes)),
        out=request.out or Path(mode.out),
        device=device,
    )


def _check(ask: Ask, mode: Mode) -> None:
    """Raises `UserError` for what no mode can do."""
    request, called = ask.request, f"mode={ask.request.mode.name}"
    if mode.of_run and request.run is None:
        raise UserError(f"{called} shows a whole run; give run=DIR instead of checkpoint=DIR")
    if ask.n_latents > MOST_SAMPLES:
        raise UserError(f"{len(ask.seeds)} seeds of n={ask.n} are more than {MOST_SAMPLES} latents; give fewer seeds or n=1")
    if request.label and len(request.label) > mode.places(ask):
        raise UserError(
            f"label={_said(request.label)} names {len(request.label)} classes, and {called} would show {mode.places(ask)} of them; "
            "give more seeds or latents, or fewer labels"
        )
    if mode.cells(ask) > MOST_CELLS:
        raise UserError(
            f"{called} would show {mode.cells(ask)} images side by side, and at most {MOST_CELLS} fit; give fewer seeds, a smaller n or fewer labels"
        )


def _said(numbers: tuple[int, ...]) -> str:
    """Numbers as on the command line; of many the first three."""
    if len(numbers) == 1:
        return str(numbers[0])
    return f"[{','.join(map(str, numbers[:3]))}{',…' if len(numbers) > 3 else ''}]"
