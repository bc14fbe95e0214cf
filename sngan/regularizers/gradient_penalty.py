"""The gradient penalty of WGAN-GP (Gulrajani et al. 2017, eq. 3)."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.regularizer import Batch, Logits, Regularizer, input_gradient


@register("regularizer", "gradient_penalty")
class GradientPenalty(Regularizer):
    """weight * E[(|grad D(x)| - 1)^2] at x = epsilon * x_real + (1 - epsilon) * x_fake, epsilon uniform in [0, 1) for each pair.

    No augmentation changes x, as in StudioGAN: it is the slope of D between images as they are.
    With classes, x has the label of its real image. With the Wasserstein loss this is WGAN-GP, with BCE the paper's GAN-GP.
    """

    def __init__(self, *, weight: PositiveFloat):
        self.weight = weight

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        epsilon = batch.epsilon.view(-1, 1, 1, 1)
        x = epsilon * batch.x_real + (1.0 - epsilon) * batch.x_fake  # [N, C, H, W]
        slopes: Tensor = torch.linalg.vector_norm(input_gradient(D, weights, x, batch.y_real), dim=1)  # [N]
        return self.weight * (slopes - 1.0).square().mean()
