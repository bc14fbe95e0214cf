"""Mode collapse: a generator that makes much the same image whatever its latent, seen by how little its samples differ."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from sngan.data.images import Images

LEAST = 0.15
"""Of the diversity of real images; untrained generators have some 0.3 of it, trained ones 0.6 and more (shapes, CIFAR-10)."""

log = logging.getLogger(__name__)


def diversity(images: Tensor) -> float:
    """How much images, uint8 [N, C, H, W], differ: the standard deviation over images, in grey levels, averaged over pixels."""
    return images.float().std(0).mean().item()


class CollapseWatch:
    """Warns, once a session, when two sets of samples in succession differ far less than real images do."""

    def __init__(self, real: Images):
        self._real = real
        self._least: float | None = None
        self._was_low = self._has_warned = False

    def __call__(self, step: int, samples: Tensor) -> None:
        """Looks at the samples of a step, uint8 [N, C, H, W]."""
        if step == 0 or self._has_warned:
            return
        if self._least is None:
            shown = torch.stack([self._real[i][0] for i in range(min(len(samples), len(self._real)))])
            self._least = LEAST * diversity(shown)
        found = diversity(samples)
        is_low = found < self._least
        if is_low and self._was_low:
            self._has_warned = True
            log.warning(
                f"step {step}: the samples hardly differ ({found:.1f} grey levels, real images {self._least / LEAST:.1f}), so the generator may "
                "have collapsed; look at samples/, and try a smaller optimizer.lr, more d_steps, or discriminator.normalization=spectral"
            )
        self._was_low = is_low
