"""The standard loss of Goodfellow et al. 2014 (paper eq. 1), binary cross-entropy on the logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sngan.losses.loss import Loss
from sngan.registry import register


@register("loss", "bce")
def bce(*, saturating: bool) -> Loss:
    """D: -E[log s(D(x))] - E[log(1 - s(D(G(z))))] with the sigmoid s.

    G: -E[log s(D(G(z)))], the alternate cost that the paper trains with, or with `saturating` the minimax game's E[log(1 - s(D(G(z))))].
    """

    def discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator(fake_logits: Tensor) -> Tensor:
        return -F.softplus(fake_logits).mean() if saturating else F.softplus(-fake_logits).mean()

    return Loss(discriminator, generator)
