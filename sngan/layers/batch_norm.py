"""Batch normalisation (Ioffe & Szegedy 2015) as in the author code, also of several batches in one forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BN_EPS = 2e-5
BN_MOMENTUM = 0.1
"""Chainer's defaults, which the author code uses (its decay 0.9 is torch's momentum 0.1)."""


class _InGroups(nn.modules.batchnorm._BatchNorm):
    """In training mode each of `groups` equal parts of the batch has its own batch statistics, which update the running ones in turn."""

    groups = 1

    def __init__(self, channels: int, *, affine: bool = True):
        super().__init__(channels, eps=BN_EPS, momentum=BN_MOMENTUM, affine=affine)

    def forward(self, h: Tensor) -> Tensor:
        if self.groups == 1 or not self.training:
            return super().forward(h)
        return torch.cat([super(_InGroups, self).forward(part) for part in h.chunk(self.groups)])


class BatchNorm1d(_InGroups, nn.BatchNorm1d):
    """For features, [N, C]."""


class BatchNorm2d(_InGroups, nn.BatchNorm2d):
    """For maps, [N, C, H, W]."""


def takes_groups(network: nn.Module) -> bool:
    """Whether all batch norms of the network can treat several batches apart."""
    return all(isinstance(m, _InGroups) for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


@contextmanager
def groups(network: nn.Module, n: int) -> Iterator[None]:
    """Inside, an input is n concatenated batches, each of which has its own statistics in the network's batch norms."""
    norms = [m for m in network.modules() if isinstance(m, _InGroups)]
    for norm in norms:
        norm.groups = n
    try:
        yield
    finally:
        for norm in norms:
            norm.groups = 1
