"""LeCam regularisation (Tseng et al. 2021, section 3.2), for small data sets."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.config import Fraction
from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.regularizer import Batch, Logits, Regularizer

AVERAGES = {"real_logits_average": "real_logits", "fake_logits_average": "fake_logits"}
"""The buffers of D, and the statistics whose moving averages they are."""


@register("regularizer", "lecam")
class LeCam(Regularizer):
    """weight * (E[(D(x) - a_fake)^2] + E[(D(G(z)) - a_real)^2]), with moving averages a of the mean logits of earlier updates.

    After each update a <- decay * a + (1 - decay) * the mean logit; both begin at 0. They are buffers of D, and so in its checkpoints.
    """

    def __init__(self, *, weight: PositiveFloat, decay: Fraction):
        self.weight, self.decay = weight, decay

    def prepare(self, D: Normalized[nn.Module]) -> None:
        D.refuse_own("", D.network, *AVERAGES)
        for name in AVERAGES:
            D.network.register_buffer(name, torch.zeros(()))

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        of_real, of_fake = (D.network.get_buffer(name).clone() for name in AVERAGES)  # copies, which no later update changes
        return self.weight * ((logits.real - of_fake).square().mean() + (logits.fake - of_real).square().mean())

    @torch.no_grad()
    def updated(self, D: Normalized[nn.Module], stats: dict[str, Tensor]) -> None:
        for name, statistic in AVERAGES.items():
            D.network.get_buffer(name).lerp_(stats[statistic], 1.0 - self.decay)
