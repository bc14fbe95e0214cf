"""The zero-centred gradient penalty on generated images, R2 (Mescheder et al. 2018, section 4.1)."""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.regularizer import Batch, Logits, Regularizer, input_gradient


@register("regularizer", "r2")
class R2(Regularizer):
    """weight / 2 * E[|grad D(G(z))|^2] at generated images; with an augmentation as R1."""

    def __init__(self, *, weight: PositiveFloat):
        self.weight = weight

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        slopes = input_gradient(D, weights, batch.x_fake, batch.y_fake, lambda x: batch.seen(x, batch.u_fake))  # [N, C * H * W]
        return 0.5 * self.weight * slopes.square().sum(1).mean()
