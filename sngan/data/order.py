"""The order in which a run sees its images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from sngan.randomness import ORDER, generator


class Order:
    """The indices of the images of a step, as a function of the step.

    The places of the whole run are numbered 0, 1, 2, …; place p holds image `permutation(p // n)[p % n]`, where the permutation of
    each epoch is drawn from (seed, epoch). Batches take one place after another: they cross the ends of epochs, may be larger than
    n, and leave no image out. Each rank takes its contiguous share of every batch, so the order is the same for any `world`.
    """

    def __init__(self, n: int, *, batch: int, d_steps: int, seed: int, rank: int = 0, world: int = 1):
        assert n > 0
        assert batch % world == 0, (batch, world)
        assert 0 <= rank < world, (rank, world)
        self._n, self._seed = n, seed
        self._batch, self._d_steps = batch, d_steps
        self._rank, self._world = rank, world
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> Tensor:
        """The indices of one step, int64 [d_steps, batch / world]; on the host."""
        places = self._d_steps * self._batch
        indices = self._places(step * places, (step + 1) * places)
        return indices.view(self._d_steps, self._world, -1)[:, self._rank]

    def batches_from(self, step: int) -> Iterator[list[int]]:
        """The indices of one batch after another, `d_steps` of them a step, without end."""
        for later in count(step):
            yield from self(later).tolist()

    def _places(self, start: int, stop: int) -> Tensor:
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self._n)
            part = self._permute(epoch)[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return torch.cat(parts)

    def _permute(self, epoch: int) -> Tensor:
        # only the last one is kept: steps go forward, and any other can be drawn again
        if epoch != self._epoch:
            self._permutation = torch.randperm(self._n, generator=generator("cpu", self._seed, ORDER, epoch))
            self._epoch = epoch
        return self._permutation
