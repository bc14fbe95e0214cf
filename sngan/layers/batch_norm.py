"""Batch normalisation (Ioffe & Szegedy 2015) as in the author code: of one batch, of several that go together, or of all ranks' batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sngan import distributed

BN_EPS = 2e-5
BN_MOMENTUM = 0.1
"""Chainer's defaults, which the author code uses (its decay 0.9 is torch's momentum 0.1)."""


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Torch's, for one batch or for several; how many, and whether ranks share their statistics, is said by the blocks below."""

    groups = 1
    synchronised = False

    def __init__(self, channels: int, *, affine: bool = True, track_running_stats: bool = True):
        super().__init__(channels, eps=BN_EPS, momentum=BN_MOMENTUM, affine=affine, track_running_stats=track_running_stats)

    def forward(self, h: Tensor) -> Tensor:
        if not self.training:
            return super().forward(h)
        if self.groups == 1:
            return self._of_a_batch(h)
        if torch.compiler.is_compiling() and not self.synchronised:
            return self._of_groups(h)
        return torch.cat([self._of_a_batch(part) for part in h.chunk(self.groups)])

    def _of_a_batch(self, h: Tensor) -> Tensor:
        return self._over_ranks(h) if self.synchronised else super().forward(h)

    def _of_groups(self, h: Tensor) -> Tensor:
        """The batches at once, in operations that the compiler fuses: h [groups * N, C, …]."""
        x = h.unflatten(0, (self.groups, -1)).to(torch.promote_types(h.dtype, torch.float32))
        variance, mean = torch.var_mean(x, [1, *range(3, x.dim())], correction=0, keepdim=True)  # each [groups, 1, C, 1, …]
        for each_mean, each_variance in zip(mean.flatten(1), variance.flatten(1), strict=True):
            self._keep(each_mean, each_variance, n=x[0].numel() // x.shape[2])
        x = (x - mean) * (variance + self.eps).rsqrt()
        if self.weight is not None:
            weight, bias = (each.view(-1, *[1] * (h.dim() - 2)) for each in (self.weight, self.bias))
            x = torch.addcmul(bias, x, weight)
        return x.flatten(0, 1).to(h.dtype)

    def _over_ranks(self, h: Tensor) -> Tensor:
        """h [N, C, …] normalised by mean and variance of the ranks' batches together, which are of one size.

        (`torch.nn.SyncBatchNorm` is for GPUs alone, and has no second derivative.)
        """
        x = h.to(torch.promote_types(h.dtype, torch.float32))
        variance, mean = torch.var_mean(x, [0, *range(2, h.dim())], correction=0)  # each [C]
        means, variances = distributed.rows(torch.stack([mean, variance])).unbind(1)  # each [ranks, C]
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        self._keep(mean, variance, n=len(means) * x.numel() // len(mean))
        scale = (variance + self.eps).rsqrt()
        weight, bias = (torch.ones_like(scale), torch.zeros_like(scale)) if self.weight is None else (self.weight, self.bias)
        scale, shift = (each.view(-1, *[1] * (h.dim() - 2)) for each in (scale * weight, bias - mean * scale * weight))
        return torch.addcmul(shift, x, scale).to(h.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, *, n: int) -> None:
        """Moves the running statistics, if there are any, towards those [C] of a batch with n values a channel."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            assert self.momentum is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """For features, [N, C]."""


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """For maps, [N, C, H, W]."""


def takes_groups(network: nn.Module) -> bool:
    """Whether `groups` and `synchronised` reach every batch norm of the network."""
    return all(isinstance(m, _BatchNorm) for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


@contextmanager
def groups(network: nn.Module, n: int) -> Iterator[None]:
    """Inside the block and in training mode, a batch is n equal ones that are concatenated.

    Each has its own statistics in the network's batch norms, and they update the running ones one after the other.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        norm.groups = n
    try:
        yield
    finally:
        for norm in norms:
            norm.groups = 1


@contextmanager
def synchronised(*networks: nn.Module) -> Iterator[None]:
    """Inside the block and in training mode, the networks' batch norms have the statistics of all ranks' batches together.

    All ranks must then run forwards and backwards in the same order; one process is its only rank, and nothing changes.
    """
    several = distributed.world_size() > 1
    norms = [m for network in networks for m in network.modules() if isinstance(m, _BatchNorm) and several]
    for norm in norms:
        norm.synchronised = True
    try:
        yield
    finally:
        for norm in norms:
            norm.synchronised = False
