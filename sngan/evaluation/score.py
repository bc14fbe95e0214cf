"""Scores of a generator, or of images, each with a record of how it was measured."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sngan import distributed
from sngan.config import Component, Protocol
from sngan.data.images import SHOWN, Images, Source, Split, TensorImages
from sngan.data.reading import read
from sngan.errors import UserError
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.fidelity import Features
from sngan.evaluation.protocol import NEIGHBOURS, OF_SAMPLES_ALONE, Score, counts, score_names
from sngan.evaluation.reference import Reference
from sngan.generators.generator import Generator
from sngan.provenance import versions
from sngan.registry import build
from sngan.sampling.fitting import fitting
from sngan.sampling.rounding import FORMULAS
from sngan.sampling.sampling import at_once, balanced_labels, latents, samples

log = logging.getLogger(__name__)

TRIAL = 8
"""Images for the trial of an extractor before training."""

Show = Callable[[list[range]], Iterator[Tensor]]
"""Batches of images uint8 [B, C, H, W], for the ranges of their indices."""


class Scorer:
    """Scores generators and images against the images of one data set with one extractor.

    The constructor checks the extractor's weights, which may have to be downloaded. The reference is read when it is first needed, and its
    features are kept in the user's cache. Scoring does not change the global random state.

    `options` describes the data set in records; `workers` is the number of processes that decode its pictures.
    With `shared`, all ranks call the same methods and share samples and extraction; rank 0 gets the record, the others {}.
    """

    def __init__(
        self,
        extractor: Component,
        source: Source,
        device: torch.device,
        *,
        options: dict[str, Any],
        workers: int,
        shared: bool = False,
    ):
        self.extractor: Extractor = build("extractor", extractor)
        self.source, self.device, self.shared = source, device, shared
        self._options, self._workers = options, workers
        self._images: dict[Split, Images] = {}
        self._references: dict[tuple[Split, int], Reference] = {}
        self._contents: dict[Split, str] = {}
        self._baselines: dict[str, dict[str, Any] | None] = {}
        self._networks: dict[bool, nn.Module] = {}

    def check_metrics(self, protocol: Protocol) -> None:
        """Raises `UserError` for a metric that the extractor does not support."""
        classes = [metric for metric in OF_SAMPLES_ALONE if metric in protocol.metrics]
        if classes and not self.extractor.classifies:
            raise UserError(
                f"protocol.metrics holds {classes[0]}, but {self.extractor.label} is no classifier; leave it out, as in protocol.metrics=[fid] "
                "(quick.metrics=[fid] for the quick score)"
            )

    def images(self, split: Split) -> Images:
        """The images of a split, loaded once."""
        if split not in self._images:
            self._images[split] = self.source.load(split)
        return self._images[split]

    def content(self, split: Split) -> str:
        """The sha256 of a split's images, computed once."""
        if split not in self._contents:
            self._contents[split] = self.images(split).sha256()
        return self._contents[split]

    def trial(self, split: Split) -> None:
        """Runs the extractor on the first images of a split; raises `UserError`, with the reason, if that fails."""
        images = self.images(split)
        n = min(TRIAL, len(images))
        try:
            seen = self._extract(_shown(images, self._workers), n, "trying the extractor", alone=True)
        except (RuntimeError, AssertionError) as error:
            raise UserError(
                f"extractor={self.extractor.label} cannot extract features of images of {self.source.name}: {' '.join(str(error).split())[:200]}"
            ) from None
        if not (seen.features.isfinite().all() and seen.logits.isfinite().all()):
            raise UserError(f"extractor={self.extractor.label} gives NaN or infinity for images of {self.source.name}; use another")

    def features(self, split: Split, n: int | None = None) -> Features:
        """The features of the first n real images of a split, or of all, kept in the user's cache; `UserError` if there is no such split."""
        available = len(self.images(split))
        return self._reference(split, available if n is None else min(n, available)).features()

    def look(self, images: Tensor) -> Features:
        """The features of images uint8 [N, C, H, W]."""
        return self._extract(_shown(TensorImages(images), self._workers), len(images), "looking at samples", alone=True)

    def provenance(self, protocol: Protocol) -> dict[str, Any]:
        """What determines a score by this protocol: `protocol`, `reference` (data set, options, split, count, content) and
        `extractor`, with what was `shown` to it of images that are not RGB."""
        shown = SHOWN.get(self.source.spec.channels)
        return {
            "protocol": protocol.model_dump(mode="json"),
            "reference": {
                "data": self.source.name,
                "options": self._options,
                "split": protocol.reference,
                "n": protocol.n_reference or len(self.images(protocol.reference)),
                "sha256": self.content(protocol.reference),
            },
            "extractor": {"label": self.extractor.label, "sha256": self.extractor.sha256} | ({"shown": shown} if shown else {}),
        }

    def score(self, G: Generator, protocol: Protocol) -> dict[str, Any]:
        """Scores G as it is, in evaluation mode, on the scorer's device, by a protocol whose rounding is known (`rounding.resolved`).

        The record holds `scores` and `deviations` by full name, what `provenance` gives, `rounding`, `device`, `versions` and `seconds`.
        The latents are a function of the protocol's seed; the labels are balanced in each draw.
        """
        assert not G.training, "a score is taken in evaluation mode"
        assert protocol.rounding != "auto", "the run's data says which"
        rounding = protocol.rounding
        z = latents(protocol.draws * protocol.n, G.z_dim, seed=protocol.seed)
        y = balanced_labels(protocol.n, G.n_classes)
        labels = None if y is None else y.repeat(protocol.draws)
        most = at_once(G)

        def show(batches: list[range]) -> Iterator[Tensor]:
            for rows in batches:
                part = slice(rows.start, rows.stop)
                y_part = None if labels is None else labels[part]
                yield from samples(G, z[part], y_part, rounding=rounding, batch=min(len(rows), most))

        return self._score(show, protocol, {"rounding": FORMULAS[rounding]})

    def score_images(self, images: Images, protocol: Protocol) -> dict[str, Any]:
        """Scores the first images of a set as if they were samples: the first n are the first draw, the next n the second."""
        assert len(images) >= protocol.n * protocol.draws
        return self._score(_shown(images, self._workers), protocol, {})

    def baseline(self, protocol: Protocol) -> dict[str, Any] | None:
        """The real-data baseline: the scores of the first n real images of the other split, or of all if there are fewer.

        No generator should be expected to score better with as many samples. None if there is no other split or, with a warning, if it
        cannot be read.
        """
        key = protocol.model_dump_json()
        if key not in self._baselines:
            self._baselines[key] = self._real_baseline(protocol)
        return self._baselines[key]

    def _real_baseline(self, protocol: Protocol) -> dict[str, Any] | None:
        other: Split = "test" if protocol.reference == "train" else "train"
        try:
            self.source.count(other)
        except UserError:
            return None
        try:
            n = min(protocol.n, len(self.images(other)))
        except UserError as error:
            log.warning(f"no real-data baseline from {other} images: {error}")
            return None
        if n < max(protocol.splits, NEIGHBOURS + 1, 2):
            return None
        single = protocol.model_copy(update={"n": n, "draws": 1})
        seen = self._reference(other, n).features()
        scores, deviations = self._scores(seen, single)
        return {"split": other, "n": n, "scores": scores, "deviations": deviations}

    def _score(self, show: Show, protocol: Protocol, more: dict[str, Any]) -> dict[str, Any]:
        start = time.monotonic()
        seen = self._extract(show, protocol.draws * protocol.n, "scoring")
        if self.shared and distributed.rank() > 0:
            return {}
        scores, deviations = self._scores(seen, protocol)
        return {
            "scores": scores,
            "deviations": deviations,
            **self.provenance(protocol),
            **more,
            "device": str(self.device),
            "versions": versions(),
            "seconds": round(time.monotonic() - start, 3),
        }

    def _scores(self, seen: Features, protocol: Protocol) -> tuple[dict[str, float], dict[str, float]]:
        """Scores and deviations, by full name: over the draws if there are several, else those of the metric itself."""
        n_available = len(self.images(protocol.reference))
        names = score_names(protocol, reference=self.source.name, n_available=n_available, extractor=self.extractor)
        reference = self._reference(protocol.reference, protocol.n_reference or n_available)
        draws: dict[Score, list[tuple[float, float | None]]] = {score: [] for score in names}
        for features, logits in zip(seen.features.split(protocol.n), seen.logits.split(protocol.n), strict=True):
            if "kid" in names:
                draws["kid"].append(fidelity.kernel_distance(features, reference.features().features))
            if "precision" in names:
                n, n_reference = counts("precision", protocol, n_available)
                real = reference.features().features[:n_reference]
                precision, recall = fidelity.precision_recall(features[:n], real, neighbours=NEIGHBOURS)
                draws["precision"].append((precision, None))
                draws["recall"].append((recall, None))
            if "fid" in names:
                distance = fidelity.frechet_distance(fidelity.statistics(features), reference.statistics())
                draws["fid"].append((distance, None))
            if "is" in names:
                value, deviation = fidelity.inception_score(logits, splits=protocol.splits)
                draws["is"].append((value, deviation if protocol.splits > 1 else None))
            if "recognised" in names:
                draws["recognised"].append((fidelity.recognised(logits), None))
        scores = {name: statistics.fmean(value for value, _ in draws[score]) for score, name in names.items()}
        if protocol.draws > 1:
            return scores, {name: statistics.pstdev(value for value, _ in draws[score]) for score, name in names.items()}
        return scores, {name: draws[score][0][1] for score, name in names.items() if draws[score][0][1] is not None}  # type: ignore[misc]

    def _reference(self, split: Split, n: int) -> Reference:
        if (split, n) not in self._references:
            images = self.images(split)

            def look(parts: list[range]) -> Iterator[Features]:
                batches = [_batches(rows, self._at_once()) for rows in parts]
                return self._passed(_shown(images, self._workers), batches, "looking at real images", before=parts[0].start)

            self._references[split, n] = Reference(self.content(split), n, self.extractor, self.device, look)
        return self._references[split, n]

    def _extract(self, show: Show, n: int, what: str, *, alone: bool = False) -> Features:
        """The features and logits of n images; with `shared`, ranks take turns with the batches, unless `alone`."""
        rank, world = (distributed.rank(), distributed.world_size()) if self.shared and not alone else (0, 1)
        batches = _batches(range(n), min(self._at_once(), -(-n // world)))
        mine = batches[rank::world]
        [seen] = self._passed(show, [mine], what) if mine else [None]
        if world == 1:
            assert seen is not None
            return seen
        parts: list[Any] = [None] * len(batches)
        for r, of_rank in enumerate(distributed.gathered(seen)):
            sizes = [len(rows) for rows in batches[r::world]]
            if of_rank is not None:
                parts[r::world] = zip(of_rank.features.split(sizes), of_rank.logits.split(sizes), strict=True)
        return Features(*map(torch.cat, zip(*parts, strict=True)))

    def _at_once(self) -> int:
        return fitting(math.prod(self.source.spec.shape))

    def _passed(self, show: Show, parts: list[list[range]], what: str, *, before: int = 0) -> Iterator[Features]:
        """The features and logits of each part, batches of images that are shown in one pass, where `before` images were shown before."""
        sizes = [sum(map(len, batches)) for batches in parts]
        compiled = self.extractor.compiles(before + sum(sizes), self.device)
        if compiled not in self._networks:
            self._networks[compiled] = self.extractor.load(self.device, compiled=compiled)
        shown = show([rows for batches in parts for rows in batches])
        with tqdm(
            total=before + sum(sizes),
            initial=before,
            desc=what,
            unit="image",
            delay=2,
            leave=False,
            disable=True if distributed.rank() else None,
        ) as bar:

            def watched(n: int) -> Iterator[Tensor]:
                while n > 0:
                    x = next(shown)
                    yield from x.split(self.extractor.cpu_batch) if self.device.type == "cpu" else [x]
                    bar.update(len(x))
                    n -= len(x)

            for n in sizes:
                yield fidelity.extract(watched(n), self._networks[compiled], self.device)


def _batches(rows: range, size: int) -> list[range]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _shown(images: Images, workers: int) -> Show:
    """Images of a set, as batches of them are asked for."""

    def show(batches: list[range]) -> Iterator[Tensor]:
        if isinstance(images, TensorImages):
            yield from (images.pixels[rows.start : rows.stop] for rows in batches)
        else:
            yield from (x for x, _ in read(images, [list(rows) for rows in batches], workers=workers))

    return show
