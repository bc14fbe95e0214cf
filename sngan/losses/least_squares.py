"""The least squares loss, LSGAN (Mao et al. 2017, eq. 2)."""

from __future__ import annotations

from torch import Tensor

from sngan.losses.loss import Loss
from sngan.registry import register


@register("loss", "least_squares")
def least_squares(*, real: float, fake: float, generated: float) -> Loss:
    """D: E[(D(x) - real)^2] / 2 + E[(D(G(z)) - fake)^2] / 2; G: E[(D(G(z)) - generated)^2] / 2.

    The paper's b, a and c: with b - c = 1 and b - a = 2 the minimum is that of Pearson's chi-squared divergence (its eq. 8).
    """

    def discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return ((real_logits - real).square().mean() + (fake_logits - fake).square().mean()) / 2

    def generator(fake_logits: Tensor) -> Tensor:
        return (fake_logits - generated).square().mean() / 2

    return Loss(discriminator, generator)
