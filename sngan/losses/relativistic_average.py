"""The relativistic average loss, RaSGAN (Jolicoeur-Martineau 2018, section 4.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sngan import distributed
from sngan.losses.loss import RelativisticLoss
from sngan.registry import register


@register("loss", "relativistic_average")
def relativistic_average() -> RelativisticLoss:
    """D: -E[log s(D(x) - E[D(G(z))])] - E[log(1 - s(D(G(z)) - E[D(x)]))] with the sigmoid s; G: the same with real and generated exchanged.

    The inner means are over the batches of all ranks, and have a gradient.
    """

    def discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real_mean, fake_mean = distributed.mean(real_logits), distributed.mean(fake_logits)
        return F.softplus(fake_mean - real_logits).mean() + F.softplus(fake_logits - real_mean).mean()

    def generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return discriminator(fake_logits, real_logits)

    return RelativisticLoss(discriminator, generator)
