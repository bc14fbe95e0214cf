"""The reference of a score: features of real images, extracted once and kept between runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sngan.cache import Tensors, remembered
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.fidelity import Features, Statistics
from sngan.provenance import versions


class Reference:
    """The first n images of a split as an extractor sees them on a kind of device.

    What it gives is cached by the content of the images (their sha256), the extractor's weights, the versions of the software and the
    kind of device.
    """

    def __init__(self, content: str, n: int, extractor: Extractor, device: torch.device, look: Callable[[], Features]):
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
            found = self._remembered("features", {"features": 2, "logits": 2}, lambda: vars(self._look()))
            self._features = Features(**found)
        return self._features

    def statistics(self) -> Statistics:
        """Mean and covariance of the features, and the root of this; the features themselves are not kept for it."""
        if self._statistics is None:

            def make() -> dict[str, torch.Tensor]:
                statistics = fidelity.statistics((self._features or self._look()).features)
                statistics["root"] = fidelity.square_root(statistics["sigma"])
                return {name: torch.from_numpy(value) for name, value in statistics.items()}

            # the kind was "statistics" while it had no root
            found = self._remembered("moments", {"mu": 1, "sigma": 2, "root": 2}, make)
            self._statistics = {name: value.numpy() for name, value in found.items()}
        return self._statistics

    def _remembered(self, kind: str, holds: Mapping[str, int], make: Callable[[], Tensors]) -> Tensors:
        return remembered(kind, self._made_from, make, fits=lambda found: is_fit(found, holds))


def is_fit(found: Tensors, holds: Mapping[str, int]) -> bool:
    """Whether the tensors have these names and numbers of dimensions, hold finite numbers, and agree in the size of the first dimension."""
    return (
        {name: tensor.dim() for name, tensor in found.items()} == dict(holds)
        and len({len(tensor) for tensor in found.values()}) == 1
        and all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in found.values())
    )
