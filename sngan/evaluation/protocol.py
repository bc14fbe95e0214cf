"""The names of scores, which say how they were taken, and whether they can be taken at all."""

from __future__ import annotations

from typing import Literal

from sngan.config import Protocol
from sngan.errors import UserError
from sngan.evaluation.extractors.extractor import Extractor

Metric = Literal["fid", "is"]


def score_names(protocol: Protocol, *, reference: str, extractor: Extractor) -> dict[Metric, str]:
    """What the score of each of the protocol's metrics is called; `reference` is the name of the data set.

    `fid_50k_cifar10-train_inception`: the distance of 50,000 samples to all training images; `fid_5k_cifar10-test10k_inception`: of
    5,000 samples to the first 10,000 test images; `is_50k_inception` has no reference. On other networks than the published
    Inception they are `fd_…` and `classifier_score_…`, because they compare with nothing published.
    """
    n = _count(protocol.n)
    first = "" if protocol.n_reference is None else _count(protocol.n_reference)
    score = "is" if extractor.distance == "fid" else "classifier_score"
    names: dict[Metric, str] = {
        "fid": f"{extractor.distance}_{n}_{reference}-{protocol.reference}{first}_{extractor.label}",
        "is": f"{score}_{n}_{extractor.label}",
    }
    return {metric: names[metric] for metric in protocol.metrics}


def check_protocol(protocol: Protocol, *, n_available: int, key: str) -> None:
    """Raises `UserError` when the reference split has too few images, it has `n_available`, or there are fewer samples than splits.

    `key` is where the protocol stands in the config: 'protocol' or 'quick'.
    """
    n_reference = n_available if protocol.n_reference is None else protocol.n_reference
    if "fid" in protocol.metrics and not 2 <= n_reference <= n_available:
        there = f"there are {n_available} {protocol.reference} images, and a distance needs 2"
        raise UserError(f"{key}.n_reference={n_reference}: {there}; use fewer, or null for all of them")
    if "is" in protocol.metrics and protocol.splits > protocol.n:
        raise UserError(f"{key}.splits={protocol.splits}: there are only {key}.n={protocol.n} samples to split; use fewer splits")


def _count(n: int) -> str:
    """50000 -> '50k', 2500 -> '2500'."""
    return f"{n // 1000}k" if n % 1000 == 0 else str(n)
