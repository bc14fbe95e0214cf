"""The hinge loss (Lim & Ye 2017; Tran et al. 2017; paper eqs. 16 and 17)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sngan.losses.loss import Loss
from sngan.registry import register


@register("loss", "hinge")
def hinge() -> Loss:
    """D: E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]; G: -E[D(G(z))]."""

    def discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()

    def generator(fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()

    return Loss(discriminator, generator)
