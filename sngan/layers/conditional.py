"""Conditional batch normalisation: by class (Dumoulin et al. 2017; in G by Miyato & Koyama 2018), or by features (BigGAN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sngan.layers.batch_norm import BatchNorm2d
from sngan.layers.lookup import rows


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalisation whose scale and shift are looked up by class: h [N, C, H, W], y int64 [N] -> [N, C, H, W]."""

    def __init__(self, channels: int, n_classes: int):
        super().__init__()
        self.normalize = BatchNorm2d(channels, affine=False)
        # parameters rather than embeddings: they scale and shift, and a weight norm should not treat them as weight matrices
        self.gamma = nn.Parameter(torch.ones(n_classes, channels))
        self.beta = nn.Parameter(torch.zeros(n_classes, channels))

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        gamma = rows(self.gamma, y)[:, :, None, None]  # [N, C, 1, 1]
        beta = rows(self.beta, y)[:, :, None, None]
        h = self.normalize(h)
        return gamma * h + beta


class ConditionedBatchNorm2d(nn.Module):
    """Batch normalisation whose scale and shift are linear in features c [N, F], about 1 and 0: h [N, C, H, W] -> [N, C, H, W].

    Source: Brock et al. 2019, Appendix B.
    """

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.normalize = BatchNorm2d(channels, affine=False)
        self.scale = nn.Linear(features, channels, bias=False)
        self.shift = nn.Linear(features, channels, bias=False)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        gamma: Tensor = 1.0 + self.scale(c)[:, :, None, None]  # [N, C, 1, 1]
        beta: Tensor = self.shift(c)[:, :, None, None]
        h = self.normalize(h)
        return gamma * h + beta
