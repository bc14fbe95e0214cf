"""`sngan doctor`: whether a run is healthy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sngan import devices
from sngan.config import Config
from sngan.data.images import Source, check_size
from sngan.doctor import measures
from sngan.doctor.checks import findings, gravest
from sngan.doctor.measures import Numbers
from sngan.doctor.request import Doctor
from sngan.errors import UserError
from sngan.evaluation.neighbours import Neighbours, neighbours, scorer_of
from sngan.files import check_writable, write_json
from sngan.provenance import versions
from sngan.registry import build
from sngan.runs.checkpoint import Checkpoint, find
from sngan.runs.run import Run, read_run
from sngan.sampling.trained import load_generator

MEASURED_WITH_NETWORKS = (
    "lead",
    "overfitting",
    "saturation",
    "gradient",
    "sigma_lag",
    "pixel_diversity",
    "feature_diversity",
    "copies",
)


class Examined(NamedTuple):
    """The numbers of a checkpoint, and the nearest training images of its samples, None where the extractor did not look at them."""

    numbers: Numbers
    neighbours: Neighbours | None


def doctor(request: Doctor) -> dict[str, Any]:
    """Examines the run or checkpoint that the request names; returns plain values, and writes them where the request says.

    `findings` hold for each check its `value`, what is `usual`, the `verdict` (fine, look, wrong, or not measured) and `why`: what to change,
    or the reason why it is not measured. `verdict` is the gravest of them. A run without a checkpoint, which has diverged early, is examined
    by its log alone. Raises `UserError` for what is missing or does not fit.
    """
    _check_out(request.out)
    device = devices.resolve(request.device)
    checkpoint, reason = _checkpoint(request)
    run = _run(request, checkpoint)
    numbers: Numbers = dict(measures.of_log(run))
    n, found = 0, None
    if checkpoint is None:
        numbers |= dict.fromkeys(MEASURED_WITH_NETWORKS, reason)
    else:
        config = checkpoint.config()
        if request.data:
            config = config.model_copy(update={"data": request.data})
        ema = load_generator(checkpoint, device=device).sample(request.n, seed=request.seed).as_subclass(Tensor)
        examined = examine(checkpoint, config, ema, device, seed=request.seed, features=request.features)
        numbers |= examined.numbers
        n, found = len(ema), examined.neighbours
    said = findings(numbers)
    record = {
        "run": str(request.run or (checkpoint and checkpoint.path)),
        "step": run.step if checkpoint is None and run else checkpoint and checkpoint.step,
        "verdict": gravest(said),
        "findings": said,
        "n": n,
        "seed": request.seed,
        "extractor": found and found.extractor,
        "held_out": found and found.held_out,
        "device": str(device),
        "versions": versions(),
    }
    if request.out:
        try:
            write_json(request.out, record)
        except OSError as error:
            raise UserError(f"out={request.out} cannot be written ({error.strerror}); give another out=FILE") from None
    return record


def examine(
    checkpoint: Checkpoint, config: Config, ema: Tensor, device: torch.device, *, seed: int, features: bool, n_shown: int = 0
) -> Examined:
    """What the networks of a checkpoint and its samples `ema` uint8 [n, C, H, W] tell, beside as many real images of the config's data.

    Raises `UserError` if the data cannot be found, or do not fit. Without the extractor its numbers are missing, with the reason.
    """
    found: Neighbours | None = None
    try:
        if not features:
            raise UserError("left out, as features=false asks for")
        scorer = scorer_of(config, checkpoint.spec, device)
        found, load = neighbours(scorer, ema, n_shown=n_shown), scorer.images
        of_features = measures.of_features(found)
    except UserError as error:
        source: Source = build("data", config.data)
        check_size(source.spec, checkpoint.spec, key=f"data={config.data.name}")
        load, of_features = source.load, dict.fromkeys(("feature_diversity", "copies"), str(error))
    numbers = {
        **measures.of_networks(checkpoint, config, load, device, n=len(ema), seed=seed),
        **measures.of_samples(ema, load("train")),
        **of_features,
    }
    return Examined(numbers, found)


def _checkpoint(request: Doctor) -> tuple[Checkpoint | None, str]:
    """The checkpoint, or the reason why a run has none."""
    try:
        return find(request.run, request.checkpoint), ""
    except UserError as error:
        if request.run is None or request.checkpoint is not None or not (request.run / "config.json").exists():
            raise
        return None, str(error)


def _run(request: Doctor, checkpoint: Checkpoint | None) -> Run | None:
    """The run whose log there is to read: the one that is named, or the one in which the checkpoint lies."""
    folder = request.run or (checkpoint and checkpoint.path.resolve().parent.parent)
    return read_run(folder) if folder and (folder / "config.json").exists() else None


def _check_out(out: Path | None) -> None:
    if out is None:
        return
    try:
        check_writable(out)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror}); give another out=FILE") from None
