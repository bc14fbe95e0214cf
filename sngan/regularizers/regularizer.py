"""What a regulariser is: a penalty added to the loss of D in each discriminator update."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sngan.layers.normalized import Normalized


class Batch(NamedTuple):
    """The inputs of one discriminator update."""

    x_real: Tensor
    """[N, C, H, W] in [-1, 1]"""
    y_real: Tensor | None
    """labels int64 [N]; None if there are no classes"""
    x_fake: Tensor
    """[N, C, H, W] in [-1, 1], without a graph"""
    epsilon: Tensor
    """[N], uniform in [0, 1)"""


class Regularizer:
    """A penalty, called as `regularizer(D, weights, batch)`: a scalar with a graph to D's parameters.

    `weights` are those that D runs with in this update (None: D normalises in each forward).
    """

    follows_sigma = False
    """Whether D tracks the sigma of its layers in `D.vectors` for this penalty."""

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch) -> Tensor:
        raise NotImplementedError


def input_gradient(D: Normalized[nn.Module], weights: dict[str, Tensor] | None, x: Tensor, y: Tensor | None) -> Tensor:
    """The gradient of each image's logit by the image, [N, C * H * W], with a graph to D's parameters; in full precision."""
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, enabled=False):
        logits = D.forward(x, y, weights=weights)  # not D(...): that may be compiled, and compiled code has no second derivative
        # a logit depends on its own image alone, so the gradient of the sum is that of each
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.flatten(1)
