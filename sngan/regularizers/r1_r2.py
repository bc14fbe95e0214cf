"""R1 and R2 together (Mescheder et al. 2018), as in R3GAN (Huang et al. 2024)."""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.r1 import R1
from sngan.regularizers.r2 import R2
from sngan.regularizers.regularizer import Batch, Logits, Regularizer


@register("regularizer", "r1_r2")
class R1R2(Regularizer):
    """weight / 2 * (E[|grad D(x)|^2] + E[|grad D(G(z))|^2]) at real images x and generated images G(z)."""

    def __init__(self, *, weight: PositiveFloat):
        self.parts = (R1(weight=weight), R2(weight=weight))

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        on_real, on_fake = (part(D, weights, batch, logits) for part in self.parts)
        return on_real + on_fake
