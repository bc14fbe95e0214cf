"""The relativistic loss of pairs, RSGAN (Jolicoeur-Martineau 2018, section 4.1), which R3GAN trains with (Huang et al. 2024)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sngan.losses.loss import RelativisticLoss
from sngan.registry import register


@register("loss", "relativistic_pair")
def relativistic_pair() -> RelativisticLoss:
    """D: -E[log s(D(x) - D(G(z)))] with the sigmoid s; G: -E[log s(D(G(z)) - D(x))]. Each real image is compared with one generated image."""

    def discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.softplus(fake_logits - real_logits).mean()

    def generator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.softplus(real_logits - fake_logits).mean()

    return RelativisticLoss(discriminator, generator)
