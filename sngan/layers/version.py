"""What is computed once for a version of a weight, and W / sigma as all forwards with this version share it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sngan.layers.linear_maps import LinearMap, Matrices
from sngan.layers.spectral_norm import Bound, divide, multiply, sigma


class Version(NamedTuple):
    """What was computed for one version of a weight: copies, which no later iteration changes."""

    numbers: tuple[int, ...]
    """Counters of changes in place, and W's address."""
    u: Tensor
    v: Tensor
    sigma: Tensor
    W_SN: Tensor
    map: LinearMap


class Quotient(torch.autograd.Function):
    """W / sigma as it was computed for this version of W, with the gradient (g - <g, W / sigma> u v^T) / sigma of paper eq. 12."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, version: Version, weight: Any) -> Tensor:
        ctx.version, ctx.weight = version, weight
        W_SN = version.W_SN.detach()
        ctx.save_for_backward(W, W_SN)
        return W_SN

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        W, W_SN = ctx.saved_tensors
        _, u, v, value, _, linear_map = ctx.version
        ctx.weight._is_touched = True  # an update may follow that autograd does not see
        with without_autocast(W):
            if torch.is_grad_enabled():  # a second derivative is wanted, so W / sigma must be a function of W here too
                value = sigma(Bound(W, u, v, linear_map))
                W_SN = divide(W, value)
            assert isinstance(linear_map, Matrices)
            factor = 1.0 / value
            along = torch.linalg.vecdot(
                linear_map.matrix(g).flatten(-2), linear_map.matrix(W_SN).flatten(-2)
            )  # <g, W / sigma>, [blocks]
            shrunk = linear_map.matrix(multiply(g, factor))
            if linear_map.blocks == 1:
                gradient = torch.addr(shrunk, u * (along * factor), v, alpha=-1)
            else:
                scaled = u * (along * factor).unsqueeze(-1)
                gradient = torch.baddbmm(shrunk, scaled.unsqueeze(-1), v.unsqueeze(-2), alpha=-1)
            gradient = linear_map.unmatrix(gradient, W.shape)
        return gradient, None, None


def without_autocast(W: Tensor) -> AbstractContextManager[Any]:
    """Arithmetic in the types of the tensors; no context at all where none is needed, as it takes longer than a small weight."""
    device = W.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
