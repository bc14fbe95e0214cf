"""Scoring a checkpoint after its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sngan import devices
from sngan.config import Config, Evaluate, Protocol
from sngan.data.images import Source, check_size
from sngan.errors import UserError
from sngan.evaluation.protocol import check_protocol
from sngan.evaluation.sampling import prepared
from sngan.evaluation.score import Scorer
from sngan.files import append_line
from sngan.registry import build
from sngan.training.checkpoint import Checkpoint, find, load_generator


def evaluate(request: Evaluate) -> dict[str, Any]:
    """Scores the checkpoint that the request names, appends the record to its run's `metrics.jsonl`, and returns it.

    Without a protocol, extractor or data of its own the request takes those of the run. Raises `UserError` for what is missing or does
    not fit, before any sample is made.
    """
    device = devices.resolve(request.device)
    checkpoint = find(request.run, request.checkpoint)
    config = checkpoint.config()
    protocol = _protocol(request, config)
    G = load_generator(checkpoint, weights=request.weights).to(device)
    data = request.data or config.data
    source: Source = build("data", data)
    check_size(source.spec, checkpoint.spec, key=f"data={data.name}")
    check_protocol(protocol, n_available=source.count(protocol.reference), key="protocol")
    metrics = _metrics_file(checkpoint)
    scorer = Scorer(request.extractor or config.extractor, source, device, data=data)
    G, batch_norm = prepared(G, config, request.weights)
    record = {
        "by": "evaluate",
        "step": checkpoint.step,
        "weights": request.weights,
        "batch_norm": batch_norm,
        **scorer.score(G, protocol),
    }
    append_line(metrics, record)
    return record


def _protocol(request: Evaluate, config: Config) -> Protocol:
    protocol = request.protocol or config.protocol
    if protocol is None:
        raise UserError("the run was trained with protocol=none; give protocol=standard or protocol=quick")
    return protocol if request.n is None else protocol.model_copy(update={"n": request.n})


def _metrics_file(checkpoint: Checkpoint) -> Path:
    """Beside the run's `checkpoints` folder; inside a checkpoint that stands alone. `UserError` if it cannot be written."""
    folder = checkpoint.path.resolve().parent
    path = (folder.parent if folder.name == "checkpoints" else checkpoint.path) / "metrics.jsonl"
    try:
        path.open("a").close()
    except OSError as error:
        raise UserError(
            f"{path}, which gets the score, cannot be written ({error.strerror}); copy the checkpoint to a folder of yours"
        ) from None
    return path
