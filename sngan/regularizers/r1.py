"""The zero-centred gradient penalty on real images, R1 (Mescheder et al. 2018, section 4.1)."""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.regularizer import Batch, Regularizer, input_gradient


@register("regularizer", "r1")
class R1(Regularizer):
    """weight / 2 * E[|grad D(x)|^2] at real images x."""

    def __init__(self, *, weight: PositiveFloat):
        self.weight = weight

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch) -> Tensor:
        return 0.5 * self.weight * input_gradient(D, weights, batch.x_real, batch.y_real).square().sum(1).mean()
