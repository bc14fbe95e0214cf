"""Spectral norm regularisation (Yoshida & Miyato 2017): a penalty on the spectral norm of each weight, instead of a division by it."""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.layers.spectral_norm import follow_sigma
from sngan.registry import register
from sngan.regularizers.regularizer import Batch, Logits, Regularizer


@register("regularizer", "spectral_regularization")
class SpectralRegularization(Regularizer):
    """weight / 2 * sum over layers of sigma(W)^2, with sigma tracked by one power iteration per update, as in spectral norm.

    D gets buffers `u` and `v` on each layer, which `D.normalize(update=True)` advances.
    """

    def __init__(self, *, weight: PositiveFloat):
        self.weight = weight

    def prepare(self, D: Normalized[nn.Module]) -> None:
        follow_sigma(D)

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        assert D.vectors is not None, "D tracks sigma"
        with torch.autocast(batch.x_real.device.type, enabled=False):
            sigmas = torch.stack(list(D.vectors.sigmas().values()))  # [layers]
        return 0.5 * self.weight * sigmas.square().sum()
