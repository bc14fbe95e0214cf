"""The zero-centred gradient penalty on real images, R1 (Mescheder et al. 2018, section 4.1)."""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.regularizer import Batch, Logits, Regularizer, input_gradient


@register("regularizer", "r1")
class R1(Regularizer):
    """weight / 2 * E[|grad D(x)|^2] at real images x.

    With an augmentation T it is the gradient of D(T(x)) by x, as in StyleGAN2-ADA (Karras et al. 2020, `loss.py` of the authors).
    """

    def __init__(self, *, weight: PositiveFloat):
        self.weight = weight

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        slopes = input_gradient(D, weights, batch.x_real, batch.y_real, lambda x: batch.seen(x, batch.u_real))  # [N, C * H * W]
        return 0.5 * self.weight * slopes.square().sum(1).mean()
