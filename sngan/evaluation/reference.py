"""The reference of a score: features of real images, extracted once and kept between runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from sngan.cache import Tensors, forget, keep, recalled, remembered
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.fidelity import Features, Statistics
from sngan.provenance import versions

Look = Callable[[list[range]], Iterator[Features]]
"""One pass of an extractor over images by index, with what it sees of each range."""

PART = 2_500
"""Images whose features are kept while the others are looked at: of Inception on a CPU, some minutes' work."""

FEATURES = {"features": 2, "logits": 2}
"""What is kept of images, and the numbers of dimensions."""


class Reference:
    """The first n images of a split as an extractor sees them on a kind of device.

    What it gives is cached by the content of the images (their sha256), the extractor's weights, the versions of the software and the
    kind of device. While they are looked at so is each part, and an interrupted look goes on where it was.
    """

    def __init__(self, content: str, n: int, extractor: Extractor, device: torch.device, look: Look):
        self._look = look
        self._made_from: dict[str, Any] = {
            "images": content,
            "n": n,
            "extractor": extractor.sha256,
            "device": device.type,
            "versions": {name: versions()[name] for name in ("torch", "torch-fidelity")},
        }
        self._features: Features | None = None
        self._statistics: Statistics | None = None

    def features(self) -> Features:
        """Features and logits of each image."""
        if self._features is None:
            found = self._remembered("features", FEATURES, lambda: vars(self._seen()))
            self._features = Features(**found)
            self._forget_parts()
        return self._features

    def statistics(self) -> Statistics:
        """Mean and covariance of the features, and the root of this; the features themselves are not kept for it."""
        if self._statistics is None:

            def make() -> dict[str, torch.Tensor]:
                statistics = fidelity.statistics((self._features or self._seen()).features)
                statistics["root"] = fidelity.square_root(statistics["sigma"])
                return {name: torch.from_numpy(value) for name, value in statistics.items()}

            # the kind was "statistics" while it had no root
            found = self._remembered("moments", {"mu": 1, "sigma": 2, "root": 2}, make)
            self._statistics = {name: value.numpy() for name, value in found.items()}
            self._forget_parts()
        return self._statistics

    def _seen(self) -> Features:
        """What the extractor sees of all images, of which the first parts may be known from an interrupted look."""
        parts = self._parts()
        seen: list[Tensors] = []
        while len(seen) < len(parts) and (known := recalled(_name(parts[len(seen)]), self._made_from, fits=_fits(FEATURES))):
            seen.append(known)
        missing = parts[len(seen) :]
        for rows, features in zip(missing, self._look(missing) if missing else (), strict=True):
            seen.append(vars(features))
            if rows.stop < self._made_from["n"]:
                keep(_name(rows), self._made_from, seen[-1], quiet=True)
        return Features(*(torch.cat([part[name] for part in seen]) for name in FEATURES))

    def _parts(self) -> list[range]:
        n = self._made_from["n"]
        return [range(start, min(start + PART, n)) for start in range(0, n, PART)]

    def _forget_parts(self) -> None:
        for rows in self._parts()[:-1]:
            forget(_name(rows), self._made_from)

    def _remembered(self, kind: str, holds: Mapping[str, int], make: Callable[[], Tensors]) -> Tensors:
        return remembered(kind, self._made_from, make, fits=_fits(holds))


def _name(rows: range) -> str:
    return f"features-{rows.start}-{rows.stop}"


def _fits(holds: Mapping[str, int]) -> Callable[[Tensors], bool]:
    return lambda found: is_fit(found, holds)


def is_fit(found: Tensors, holds: Mapping[str, int]) -> bool:
    """Whether the tensors have these names and numbers of dimensions, hold finite numbers, and agree in the size of the first dimension."""
    return (
        {name: tensor.dim() for name, tensor in found.items()} == dict(holds)
        and len({len(tensor) for tensor in found.values()}) == 1
        and all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in found.values())
    )
