"""What is computed once for a version of a weight, and W / sigma as all forwards with this version share it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sngan.layers.linear_maps import LinearMap, Matrices
from sngan.layers.spectral_norm import Bound, divide, sigma


class Touch:
    """Whether a backward pass went through a weight since its version was computed; an update may follow that autograd does not see."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False


class Version(NamedTuple):
    """What was computed for one version of a weight: copies, which no later iteration changes."""

    numbers: tuple[int, ...]
    """Counters of changes in place, and W's address."""
    u: Tensor
    v: Tensor
    sigma: Tensor
    W_SN: Tensor
    map: LinearMap
    touch: Touch
    """One for all versions of a weight."""


class Quotient(torch.autograd.Function):
    """W / sigma as it was computed for this version of W, with the gradient (g - <g, W / sigma> u v^T) / sigma of paper eq. 12."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, version: Version) -> Tensor:
        ctx.version = version
        W_SN = version.W_SN.detach()
        ctx.save_for_backward(W, W_SN)
        return W_SN

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        W, W_SN = ctx.saved_tensors
        _, u, v, value, _, layout, touch = ctx.version
        touch.is_set = True
        assert isinstance(layout, Matrices)
        with without_autocast(W):
            if torch.is_grad_enabled():  # a second derivative is wanted, so W / sigma must be a function of W here too
                value = sigma(Bound(W, u, v, layout))
                W_SN = divide(W, value)
            inverse = value.reciprocal().view(-1, *[1] * W.dim())  # [blocks or 1, 1, …], as u and v are below
            U, V = layout.factors(u, v, W.shape)
            g, W_SN = layout.split(g), layout.split(W_SN)
            each = 1 if layout.blocks > 1 else 0  # the product of two vectors is faster than that of a batch of one
            along = layout.inner(g.flatten(each), W_SN.flatten(each)).view_as(inverse)  # <g, W / sigma>
            gradient = torch.addcmul(g * inverse, U * (along * inverse), V, value=-1)
        return gradient.flatten(0, 1), None


def without_autocast(W: Tensor) -> AbstractContextManager[Any]:
    """Arithmetic in the types of the tensors; no context at all where none is needed, as it takes longer than a small weight."""
    device = W.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
