"""Scoring after training: of checkpoints, of samples in a folder or file, or of real images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sngan import devices, distributed
from sngan.config import Component, Data, Protocol
from sngan.data.images import ImageSpec, Source, check_size
from sngan.errors import UserError
from sngan.evaluation.image_sets import reference_at, samples_of
from sngan.evaluation.protocol import check_protocol
from sngan.evaluation.request import Evaluate
from sngan.evaluation.score import Scorer
from sngan.files import append_line
from sngan.processes import open_regular
from sngan.registry import build
from sngan.runs import earlier
from sngan.runs.checkpoint import GENERATORS, Checkpoint, find, load_generator, open_checkpoint, steps_saved
from sngan.runs.records import read_metrics
from sngan.sampling.rounding import resolved
from sngan.sampling.sampling import batch_norm, prepared

Record = dict[str, Any]

WORKERS = 2
"""Processes that decode pictures if no data set of the config sets their number."""


WHOLE = {"scores", "deviations", "floor", "device", "seconds"}
"""What a record holds besides how it was made."""


def evaluate(request: Evaluate) -> Iterator[Record]:
    """Scores what the request names, one record after the other; those of checkpoints are appended to their run's `metrics.jsonl`.

    Without a protocol, extractor or data of its own the request takes those of the run. With `all`, the record of a checkpoint
    that was scored in the same way is reused. Under torchrun the ranks share the work, and rank 0 has the records. Raises `UserError`
    for what is missing or does not fit, before any sample is made.
    """
    device = devices.resolve(request.device)
    named = [key for key in ("run", "checkpoint", "samples", "real") if getattr(request, key) is not None]
    if len(named) != 1:
        raise UserError(
            f"{' and '.join(named) or 'nothing'} given; give one of run=DIR, checkpoint=DIR, samples=PATH and real=SPLIT"
        )
    if request.all and request.run is None:
        raise UserError("all=true is for the checkpoints of a run; give run=DIR")
    if request.weights == "raw" and (request.samples is not None or request.real is not None):
        raise UserError("weights=raw chooses between the generators of a checkpoint; samples= and real= have none")
    if request.against is not None and request.data is not None:
        raise UserError("against= and data= both name reference images; give one of them")
    with distributed.process_group(device):
        if request.samples is not None or request.real is not None:
            yield from _images(request, device)
        else:
            yield from _checkpoints(request, device)


def _checkpoints(request: Evaluate, device: torch.device) -> Iterator[Record]:
    first = find(request.run, request.checkpoint)
    checkpoints = [first]
    if request.all:
        checkpoints = [open_checkpoint(path) for path in steps_saved(first.path.parent).values()]
    config = first.config()
    protocol = request.protocol or config.protocol
    if protocol is None:
        raise UserError("the run was trained with protocol=none; give protocol=standard or protocol=quick")
    if request.n is not None:
        protocol = protocol.model_copy(update={"n": request.n})
    protocol = resolved(protocol, config.data)
    scorer = _scorer(request, config.data, first.spec, protocol, device, extractor=request.extractor or config.extractor)
    metrics = _metrics_file(first)
    quiet = len(checkpoints) == 1 or distributed.rank() > 0
    for checkpoint in tqdm(checkpoints, "checkpoints", unit="checkpoint", delay=2, leave=False, disable=True if quiet else None):
        how = {
            "step": checkpoint.step,
            "weights": request.weights,
            "batch_norm": batch_norm(config, request.weights),
            **scorer.provenance(protocol),
        }
        generator = checkpoint.sha256.get(GENERATORS[request.weights])
        known = [
            line
            for line in map(earlier.record, read_metrics(metrics))
            # quick scores of a run may be of a step that is not saved, and have no hash
            if all(line.get(key) == value for key, value in how.items()) and line.get("generator", generator) == generator
            if line.keys() >= WHOLE and line["scores"]
        ]
        # rank 0's file decides for all ranks
        if distributed.from_first_rank(bool(request.all and known)):
            if distributed.rank() == 0:
                yield known[-1]
            continue
        G = load_generator(checkpoint, weights=request.weights).to(device)
        G, _ = prepared(G, config, request.weights)
        scored = scorer.score(G, protocol)
        if distributed.rank() == 0:
            record = {"by": "evaluate", "generator": generator, **how, **scored, "floor": scorer.baseline(protocol)}
            append_line(metrics, record)
            yield record


def _images(request: Evaluate, device: torch.device) -> Iterator[Record]:
    """Scores images themselves, without a generator."""
    key, value = ("samples", str(request.samples)) if request.samples is not None else ("real", str(request.real))
    what = f"{key}={value}"
    if request.real is not None and request.data is None:
        raise UserError(f"{what} needs a data set; give data=cifar10, or another")
    if request.protocol is None or request.extractor is None or (request.data is None and request.against is None):
        raise UserError(
            f"{what}: no run says how to score these; give protocol=standard (or another), extractor=inception (or another), and what to\n"
            "compare with, data=cifar10 (or another) or against=PATH"
        )
    protocol = request.protocol
    if request.samples is not None:
        images, spec = samples_of(request.samples)
        n = request.n or len(images) // protocol.draws
    else:
        assert request.data is not None and request.real is not None
        source: Source = build("data", request.data)
        with distributed.first_rank_first():  # it downloads what the others then find
            images = source.load(request.real)
        spec = source.spec
        n = request.n or min(protocol.n, len(images) // protocol.draws)
    protocol = protocol.model_copy(update={"n": n})
    if n < 2 or n * protocol.draws > len(images):
        raise UserError(
            f"{what} holds {len(images)} images, too few for {protocol.draws} draws of n={n}; use fewer, n=… or protocol.draws=1"
        )
    scorer = _scorer(request, request.data, spec, protocol, device, extractor=request.extractor)
    scored = scorer.score_images(images, protocol)
    if distributed.rank() == 0:
        # real images of the other split are the real-data baseline themselves
        baseline = None if request.real not in (None, protocol.reference) else scorer.baseline(protocol)
        yield {"by": "evaluate", key: value, **scored, "floor": baseline}


def _scorer(
    request: Evaluate, data: Data | None, spec: ImageSpec, protocol: Protocol, device: torch.device, *, extractor: Component
) -> Scorer:
    """The scorer for images of this spec, against the data in the request or else the run's data."""
    workers = WORKERS
    if request.against is not None:
        source, options = reference_at(request.against, spec.resolution)
        key = f"against={request.against}"
    else:
        data = request.data or data
        assert data is not None
        source, options, workers = build("data", data), data.described, data.workers
        key = f"data={data.name}"
    if request.against is None and request.samples is None:
        check_size(source.spec, spec, key=key)
    elif source.spec.resolution != spec.resolution:  # of channels pictures have three, and grey ones look the same in one
        raise UserError(
            f"{key} has images of {source.spec.size} px, those to be scored have {spec.size}; compare images of one size"
        )
    try:
        n_available = source.count(protocol.reference)
    except UserError:
        if request.against is None:
            raise
        raise UserError(
            f"{key} has no test images, which protocol={protocol.name} compares with; use protocol.reference=train"
        ) from None
    check_protocol(protocol, n_available=n_available, key="protocol")
    with distributed.first_rank_first():  # it downloads what the others then find
        scorer = Scorer(extractor, source, device, options=options, workers=workers, shared=True)
        scorer.check_metrics(protocol)
        scorer.images(protocol.reference)
    return scorer


def _metrics_file(checkpoint: Checkpoint) -> Path:
    """Beside the run's `checkpoints` folder; inside a checkpoint that stands alone. `UserError` if it cannot be written."""
    folder = checkpoint.path.resolve().parent
    path = (folder.parent if folder.name == "checkpoints" else checkpoint.path) / "metrics.jsonl"
    try:
        open_regular(path, append=True).close()
    except OSError as error:
        raise UserError(
            f"{path}, where the score is recorded, cannot be written ({error.strerror}); copy the checkpoint to a folder of yours"
        ) from None
    return path
