"""The Wasserstein loss (Arjovsky et al. 2017): a difference of means, meaningful while D is Lipschitz."""

from __future__ import annotations

from torch import Tensor

from sngan.losses.loss import Loss
from sngan.registry import register


@register("loss", "wasserstein")
def wasserstein() -> Loss:
    """D: E[D(G(z))] - E[D(x)]; G: -E[D(G(z))]."""

    def discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(fake_logits: Tensor) -> Tensor:
        return -fake_logits.mean()

    return Loss(discriminator, generator)
