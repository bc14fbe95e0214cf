"""The inputs of each training step, as a function of (seed, rank, step)."""

from __future__ import annotations

import torch
from torch import Tensor

from sngan import distributed
from sngan.config import Config
from sngan.data.batches import Batches
from sngan.generators.generator import Generator
from sngan.randomness import AUGMENT, INTERPOLATE, LABEL, LATENT, generator
from sngan.training.step import Inputs


class InputStream:
    """`stream(step)` gives the inputs of a step: real images from `batches`, latents N(0, I), uniform labels of the fakes.

    With `real_for_G` the generator update gets real images, too: the last ones that D is given in the step, as many as there are latents.
    With an augmentation, an image has `n_augment` uniform numbers of its own. `attempt` counts how often the run has gone back to a
    checkpoint; with each, latents, labels and these numbers are others.
    """

    attempt = 0

    def __init__(
        self, config: Config, G: Generator, batches: Batches, device: torch.device, *, real_for_G: bool = False, n_augment: int = 0
    ):
        self.config, self.batches, self.device, self.real_for_G = config, batches, device, real_for_G
        self.n_augment = n_augment
        self.z_dim, self.n_classes = G.z_dim, G.n_classes
        self.n = distributed.share(config.batch, "batch")
        self.m = distributed.share(config.g_batch, "g_batch")

    def __call__(self, step: int) -> Inputs:
        x_real, y_real = self.batches(step)
        d_steps, n, m = self.config.d_steps, self.n, self.m
        key = self._key(LATENT, step)
        z = torch.randn(d_steps * n + m, self.z_dim, device=self.device, generator=generator(self.device, *key))
        z_D, z_G = z[: d_steps * n].view(d_steps, n, self.z_dim), z[d_steps * n :]
        key = self._key(INTERPOLATE, step)
        epsilon = torch.rand(d_steps, n, device=self.device, generator=generator(self.device, *key))
        x_real_G, y_real_G = (x_real.flatten(0, 1)[-m:], y_real.flatten()[-m:]) if self.real_for_G else (None, None)
        u = self._augment(step)
        if not self.n_classes:
            return Inputs(x_real, None, z_D, None, epsilon, z_G, None, x_real_G, None, *u)
        key = self._key(LABEL, step)
        y = torch.randint(self.n_classes, (d_steps * n + m,), device=self.device, generator=generator(self.device, *key))
        y_D, y_G = y[: d_steps * n].view(d_steps, n), y[d_steps * n :]
        return Inputs(x_real, y_real, z_D, y_D, epsilon, z_G, y_G, x_real_G, y_real_G, *u)

    def _augment(self, step: int) -> list[Tensor | None]:
        """The numbers of real images and fakes for D, and of fakes and real images for G; None where there are none."""
        if not self.n_augment:
            return [None] * 4
        d_steps, n, m = self.config.d_steps, self.n, self.m
        counts = [d_steps * n, d_steps * n, m, m if self.real_for_G else 0]
        coins = generator(self.device, *self._key(AUGMENT, step))
        u = torch.rand(sum(counts), self.n_augment, device=self.device, generator=coins).split(counts)
        return [*(part.view(d_steps, n, -1) for part in u[:2]), u[2], u[3] if self.real_for_G else None]

    def _key(self, stream: int, step: int) -> tuple[int, ...]:
        key = self.config.seed, stream, distributed.rank(), step
        return (*key, self.attempt) if self.attempt else key
