"""The names of scores, which say how they were measured, and a check that they can be measured."""

from __future__ import annotations

from typing import Literal

from sngan.config import MOST_SAMPLES, Protocol
from sngan.errors import UserError
from sngan.evaluation.extractors.extractor import Extractor

Score = Literal["fid", "is", "kid", "precision", "recall", "recognised"]

SCORES: dict[str, tuple[Score, ...]] = {
    "fid": ("fid",),
    "is": ("is",),
    "kid": ("kid",),
    "precision_recall": ("precision", "recall"),
    "recognised": ("recognised",),
}
"""Which scores a metric gives."""

OF_SAMPLES_ALONE = ("is", "recognised")
"""Scores that look at a classifier's answers for the samples, and at no real images."""

NEIGHBOURS = 3
"""The k of precision and recall (Kynkäänniemi et al. 2019): an image is covered if it is nearer than the third neighbour."""


def score_names(protocol: Protocol, *, reference: str, n_available: int, extractor: Extractor) -> dict[Score, str]:
    """What each score of the protocol is called; `reference` is the name of the data set, whose split has `n_available` images.

    `fid_50k_cifar10-train_inception`: the distance of 50,000 samples to all training images; `fid_10x5k_cifar10-test_inception`: the mean
    of ten, each of 5,000 samples to all test images, `…_cifar10-test5k_…` to the first 5,000 of them; `is_50k_inception` and
    `recognised_5k_small_resnet` have no reference. On other networks than the published Inception they are `fd_…`, `kd_…` and
    `classifier_score_…`, because they are not comparable with published scores.
    """
    names: dict[Score, str] = {}
    published = extractor.distance == "fid"
    titles = {"fid": extractor.distance, "is": "is" if published else "classifier_score", "kid": "kid" if published else "kd"}
    for metric in protocol.metrics:
        for score in SCORES[metric]:
            n, n_reference = counts(score, protocol, n_available)
            parts = [titles.get(score, score), ("" if protocol.draws == 1 else f"{protocol.draws}x") + _count(n)]
            if score not in OF_SAMPLES_ALONE:
                parts.append(f"{reference}-{protocol.reference}{'' if n_reference == n_available else _count(n_reference)}")
            names[score] = "_".join([*parts, extractor.label])
    return names


def counts(score: Score, protocol: Protocol, n_available: int) -> tuple[int, int]:
    """The samples in a draw, and the real images of the `n_available`, that a score uses."""
    n, n_reference = protocol.n, protocol.n_reference or n_available
    if score in ("precision", "recall"):
        return min(n, protocol.n_precision_recall), min(n_reference, protocol.n_precision_recall)
    return n, n_reference


def check_protocol(protocol: Protocol, *, n_available: int, key: str) -> None:
    """Raises `UserError` if the reference split, which has `n_available` images, or the samples are too few.

    `key` is where the protocol stands in the config: 'protocol' or 'quick'.
    """
    n_reference = n_available if protocol.n_reference is None else protocol.n_reference
    if set(protocol.metrics) - set(OF_SAMPLES_ALONE) and not 2 <= n_reference <= n_available:
        there = f"there are {n_available} {protocol.reference} images, and a distance needs 2"
        raise UserError(f"{key}.n_reference={n_reference}: {there}; use fewer, or null for all of them")
    if "is" in protocol.metrics and protocol.splits > protocol.n:
        raise UserError(f"{key}.splits={protocol.splits}: there are only {key}.n={protocol.n} samples to split; use fewer splits")
    if protocol.draws * protocol.n > MOST_SAMPLES:
        raise UserError(f"{key}.draws={protocol.draws} of {key}.n={protocol.n} are more than {MOST_SAMPLES} samples; use fewer")
    if "precision_recall" in protocol.metrics and min(protocol.n, n_reference) <= NEIGHBOURS:
        raise UserError(
            f"{key}.metrics: precision and recall look at {NEIGHBOURS} neighbours and need more than as many samples and real images; "
            f"{key}.n={protocol.n} and {n_reference} are too few"
        )


def _count(n: int) -> str:
    """50000 -> '50k', 2500 -> '2500'."""
    return f"{n // 1000}k" if n % 1000 == 0 else str(n)
