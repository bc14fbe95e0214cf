"""What a regulariser is: a penalty added to the loss of D in each discriminator update."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sngan.layers.head import full_precision, logits_of
from sngan.layers.normalized import Normalized


class Batch(NamedTuple):
    """The inputs of one discriminator update."""

    x_real: Tensor
    """[N, C, H, W] in [-1, 1]"""
    y_real: Tensor | None
    """labels int64 [N]; None if there are no classes"""
    x_fake: Tensor
    """[N, C, H, W] in [-1, 1], without a graph"""
    y_fake: Tensor | None
    """labels int64 [N]; None if there are no classes"""
    epsilon: Tensor
    """[N], uniform in [0, 1)"""
    u_real: Tensor | None = None
    """[N, A], uniform in [0, 1): what decides how each real image is augmented; None without augmentation"""
    u_fake: Tensor | None = None
    """[N, A], likewise for generated images"""
    augment: Callable[[Tensor, Tensor], Tensor] | None = None
    """The augmentation: a function of images and u"""

    def seen(self, x: Tensor, u: Tensor | None) -> Tensor:
        """Images [N, C, H, W] as D is to see them."""
        return x if self.augment is None or u is None else self.augment(x, u)


class Logits(NamedTuple):
    """What D says of a batch, with a graph to its parameters."""

    real: Tensor
    """[N]"""
    fake: Tensor
    """[N]"""
    label_loss: Tensor | None = None
    """The mean cross-entropy of real images' labels by an auxiliary classifier, plus that of generated ones'; None without one."""


class Regularizer:
    """A penalty, called as `regularizer(D, weights, batch, logits)`: a scalar with a graph to D's parameters.

    `weights` are those that D runs with in this update (None: D normalises in each forward).
    """

    def prepare(self, D: Normalized[nn.Module]) -> None:
        """Adds to D, once, the buffers that the penalty keeps in it."""

    def __call__(self, D: Normalized[nn.Module], weights: dict[str, Tensor] | None, batch: Batch, logits: Logits) -> Tensor:
        raise NotImplementedError

    def updated(self, D: Normalized[nn.Module], stats: dict[str, Tensor]) -> None:
        """Called after each discriminator update with its statistics, means over the whole batch of all ranks; may change its own buffers."""


def input_gradient(
    D: Normalized[nn.Module],
    weights: dict[str, Tensor] | None,
    x: Tensor,
    y: Tensor | None,
    seen: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """The gradient of each image's logit by the image, [N, C * H * W], with a graph to D's parameters; in full precision.

    `seen` is what becomes of an image before D sees it.
    """
    x = x.detach().to(full_precision(x.dtype)).requires_grad_()  # generated images are bfloat16 under autocast
    with torch.autocast(x.device.type, enabled=False):
        # not D(...): that may be compiled, and compiled code has no second derivative
        logits = logits_of(D.forward(seen(x), y, weights=weights))
        # a logit depends on its own image alone, so the gradient of the sum is that of each
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.flatten(1)
