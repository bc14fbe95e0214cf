"""What a loss is: one function for each network, both to be minimised."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """`discriminator(real_logits [N], fake_logits [M])` and `generator(fake_logits [M])`, each a scalar."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


class RelativisticLoss(NamedTuple):
    """A loss whose generator sees the logits of real images, too: both functions take (real_logits [N], fake_logits [N])."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
