"""Scores of a generator, each with a record of how it was taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sngan.config import Component, Data, Protocol
from sngan.data.images import Images, Source, Split, TensorImages
from sngan.data.reading import read
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.protocol import score_names
from sngan.evaluation.sampling import balanced_labels, latents, samples
from sngan.generators.generator import Generator
from sngan.provenance import versions
from sngan.registry import build

BATCH = 250
"""Images that the extractor sees at once."""


class Scorer:
    """Scores generators against the images of one data set with one extractor.

    Constructing it checks the extractor's weights (which may have to be downloaded); the reference is read once, when it is first needed.
    Scoring draws only counted random numbers and leaves the process as it was.
    """

    def __init__(self, extractor: Component, source: Source, device: torch.device, *, data: Data):
        self.extractor: Extractor = build("extractor", extractor)
        self.source, self.device, self._data = source, device, data
        self._images: dict[Split, Images] = {}
        self._references: dict[tuple[Split, int | None], fidelity.Statistics] = {}
        self._network: Any = None

    def images(self, split: Split) -> Images:
        """The images of a split, loaded once."""
        if split not in self._images:
            self._images[split] = self.source.load(split)
        return self._images[split]

    def provenance(self, protocol: Protocol) -> dict[str, Any]:
        """What a score by this protocol is made of: `protocol`, `reference` (data set, its options, split, count) and `extractor`."""
        return {
            "protocol": protocol.model_dump(mode="json"),
            "reference": {
                "data": self.source.name,
                "options": {"name": self._data.name, **self._data.options},
                "split": protocol.reference,
                "n": protocol.n_reference or len(self.images(protocol.reference)),
            },
            "extractor": {"label": self.extractor.label, "sha256": self.extractor.sha256},
        }

    def score(self, G: Generator, protocol: Protocol) -> dict[str, Any]:
        """Scores G as it is, in evaluation mode, on the scorer's device.

        The record holds `scores` and `deviations` by full name, what `provenance` gives, `device`, `versions` and `seconds`. Samples
        have latents that are a function of the protocol's seed, and balanced labels.
        """
        start = time.monotonic()
        assert not G.training, "a score is taken in evaluation mode"
        z = latents(protocol.n, G.z_dim, seed=protocol.seed)
        y = balanced_labels(protocol.n, G.n_classes)
        seen = self._extract(samples(G, z, y, batch=BATCH), protocol.n, "scoring samples")
        names = score_names(protocol, reference=self.source.name, extractor=self.extractor)
        scores: dict[str, float] = {}
        deviations: dict[str, float] = {}
        for metric, name in names.items():
            if metric == "fid":
                scores[name] = fidelity.frechet_distance(fidelity.statistics(seen.features), self._reference(protocol))
            else:
                scores[name], deviations[name] = fidelity.inception_score(seen.logits, splits=protocol.splits)
        return {
            "scores": scores,
            "deviations": deviations,
            **self.provenance(protocol),
            "device": str(self.device),
            "versions": versions(),
            "seconds": round(time.monotonic() - start, 3),
        }

    def _reference(self, protocol: Protocol) -> fidelity.Statistics:
        key = protocol.reference, protocol.n_reference
        if key not in self._references:
            images = self.images(protocol.reference)
            n = protocol.n_reference or len(images)
            seen = self._extract(_batches(images, n, self._data.workers), n, "reading the reference")
            self._references[key] = fidelity.statistics(seen.features)
        return self._references[key]

    def _extract(self, batches: Iterator[Tensor], n: int, what: str) -> fidelity.Features:
        if self._network is None:
            self._network = self.extractor.load(self.device)
        with tqdm(total=n, desc=what, unit="image", delay=2, leave=False, disable=None) as bar:

            def watched() -> Iterator[Tensor]:
                for x in batches:
                    yield x
                    bar.update(len(x))

            return fidelity.extract(watched(), self._network, self.device)


def _batches(images: Images, n: int, workers: int) -> Iterator[Tensor]:
    """The first n images in batches uint8 [<= BATCH, C, H, W]."""
    if isinstance(images, TensorImages):
        yield from images.pixels[:n].split(BATCH)
    else:
        indices = [list(range(i, min(i + BATCH, n))) for i in range(0, n, BATCH)]
        yield from (x for x, _ in read(images, indices, workers=workers))


def better(name: str, value: float, best: float) -> bool:
    """Whether a score beats the best so far: distances by being smaller, the others by being larger."""
    return value < best if name.startswith(("fid_", "fd_")) else value > best
