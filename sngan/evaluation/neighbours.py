"""Is the generator memorising? Its samples beside the training images that are nearest to them in the features of the run's extractor.

A distance alone says little, so held-out real images are looked at in the same way: samples of a generator that has learnt the
distribution are as far from the training images as those are, copies are nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sngan.config import Config
from sngan.data.images import ImageSpec, Source, check_size
from sngan.errors import UserError
from sngan.evaluation.score import Scorer
from sngan.registry import build

N_LOOKED_AT = 1000
"""Samples, and held-out images, whose nearest training image is looked for."""

K = 3
"""Neighbours that are shown."""

SPARE = 5
"""Candidates beyond k: the fast distances may have the nearest in another order."""

BLOCK = 250
"""Rows of the matrix of distances that are in memory at once: 50 MB with 50,000 training images."""


@dataclass(frozen=True)
class Match:
    """A training image near a sample: uint8 [C, H, W], its index, and the squared distance of features."""

    image: Tensor
    index: int
    distance: float


@dataclass(frozen=True)
class Look:
    """A sample, its nearest training images, and how many of the held-out images are as near to theirs, as a fraction."""

    index: int
    image: Tensor
    matches: list[Match]
    held_out_as_near: float


class Neighbours(NamedTuple):
    """What was found: squared distances to the nearest training image, sorted, and some samples to look at."""

    n_train: int
    data: str
    extractor: str
    extractor_sha256: str
    held_out: str
    """Which images are the real-data baseline."""
    samples: list[float]
    baseline: list[float]
    diversity: float | None
    """The mean distance of two samples, of that of two training images; None where these are all the same."""
    first: list[Look]
    """The first samples, without any selection."""
    nearest: list[Look]
    """The samples nearest to a training image: a copy would be among them."""


def scorer_of(config: Config, spec: ImageSpec, device: torch.device) -> Scorer:
    """The run's data and extractor, after a trial; `UserError` if one cannot be found, or does not fit images of this spec."""
    source: Source = build("data", config.data)
    check_size(source.spec, spec, key=f"data={config.data.name}")
    options = config.data.described
    scorer = Scorer(config.extractor, source, device, options=options, workers=config.data.workers)
    scorer.trial("train")
    return scorer


def neighbours(scorer: Scorer, samples: Tensor, *, n_shown: int) -> Neighbours:
    """Looks at samples uint8 [N, C, H, W] of a run; the features of real images are kept in the user's cache."""
    train = scorer.features("train").features  # [M, F]
    seen = scorer.look(samples).features  # [N, F]
    index, distance = nearest(seen, train, k=min(K, len(train)))
    baseline, held_out = _real_baseline(scorer, train)
    spread = float(torch.pdist(train[: len(seen)]).mean()) if len(train) > 1 else 0.0

    def look(i: int) -> Look:
        near = [Match(scorer.images("train")[int(j)][0], int(j), float(d)) for j, d in zip(index[i], distance[i], strict=True)]
        as_near = float((baseline <= distance[i, 0]).float().mean()) if len(baseline) else 0.0
        return Look(i, samples[i], near, as_near)

    return Neighbours(
        n_train=len(train),
        data=scorer.source.name,
        extractor=scorer.extractor.label,
        extractor_sha256=scorer.extractor.sha256,
        held_out=held_out,
        samples=distance[:, 0].sort().values.tolist(),
        baseline=baseline.sort().values.tolist(),
        diversity=float(torch.pdist(seen).mean()) / spread if spread and len(seen) > 1 else None,
        first=[look(i) for i in range(min(n_shown, len(samples)))],
        nearest=[look(int(i)) for i in distance[:, 0].argsort(stable=True)[:n_shown]],
    )


def nearer_than_real(found: Neighbours) -> tuple[float, float] | None:
    """The squared distance to a training image that 1 % of the real images are within, and the share of samples that are; None without real ones."""
    if not found.baseline:
        return None
    limit = found.baseline[len(found.baseline) // 100]
    return limit, sum(d < limit for d in found.samples) / len(found.samples)


def _real_baseline(scorer: Scorer, train: Tensor) -> tuple[Tensor, str]:
    """Squared distances [n] of held-out images to their nearest training image: test images, or else training images left out in turn."""
    try:
        test = scorer.features("test", N_LOOKED_AT).features
    except UserError:
        n = min(N_LOOKED_AT, len(train))
        if len(train) < 2:
            return torch.empty(0), "no images"
        return nearest(train[:n], train, k=1, skip=range(n))[1][:, 0], f"{n:,} training images, each left out in turn"
    return nearest(test, train, k=1)[1][:, 0], f"{len(test):,} test images"


def nearest(queries: Tensor, keys: Tensor, *, k: int, skip: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Indices and squared distances [N, k] of the nearest of `keys` [M, F] to each of `queries` [N, F]; of query i, `skip[i]` is left out.

    Candidates are found by one matrix product, which is fast but inexact for small distances; those of the candidates are then computed exactly.
    """
    lengths = keys.square().sum(1)
    n_candidates = min(k + SPARE, len(keys) - (skip is not None))
    indices = []
    for rows in torch.arange(len(queries)).split(BLOCK):
        near = lengths - 2 * queries[rows] @ keys.T  # [B, M], but for the query's own length
        if skip is not None:
            near[torch.arange(len(rows)), torch.tensor([skip[int(i)] for i in rows])] = torch.inf
        indices.append(near.topk(n_candidates, largest=False).indices)
    index = torch.cat(indices)
    distance = torch.cat(
        [(q[:, None] - keys[i]).square().sum(2) for q, i in zip(queries.split(BLOCK), index.split(BLOCK), strict=True)]
    )
    order = distance.argsort(dim=1, stable=True)[:, :k]
    return index.gather(1, order), distance.gather(1, order)
