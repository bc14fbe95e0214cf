"""Orthonormal regularisation of D (Brock et al. 2016; compared with in paper section 4), and BigGAN's of G."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from sngan.layers.linear_maps import matrix
from sngan.layers.normalized import Normalized
from sngan.registry import register
from sngan.regularizers.regularizer import Batch, Logits, Regularizer


def off_diagonal(network: Normalized[Any], weight: float) -> Tensor:
    """weight * sum over layers of |W W^T * (1 - I)|_F^2, the orthogonal regularisation of G in BigGAN (Brock et al. 2019, eq. 3).

    The rows of W, one for each output, are drawn apart, and keep their lengths. W is the parameter itself, before any norm.
    """
    total = torch.zeros((), device=next(network.parameters()).device)
    with torch.autocast(total.device.type, enabled=False):
        for layer in network.layers().values():
            W = matrix(layer, layer.weight)
            gram = W @ W.T
            total = total + (gram - gram.diag().diag()).square().sum()
    return weight * total


@register("regularizer", "orthonormal")
class Orthonormal(Regularizer):
    """weight * sum over layers of |W W^T - I|_F^2, with the weights W [out, in * kh * kw] that D runs with.

    |W^T W - I|_F^2, as the paper writes it, differs from it by the constant in * kh * kw - out and has the same gradient; the smaller
    product is computed. The penalty pulls all singular values to 1, not only the largest.
    """

    def __init__(self, *, weight: PositiveFloat):
        self.weight = weight

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        used = D.normalize(update=False) if weights is None else weights
        total = torch.zeros((), device=batch.x_real.device)
        with torch.autocast(batch.x_real.device.type, enabled=False):
            for name, layer in D.layers().items():
                W = matrix(layer, used.get(f"{name}.weight", layer.weight))
                gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
                total = total + (gram - torch.eye(len(gram), device=gram.device, dtype=gram.dtype)).square().sum()
        return self.weight * total
