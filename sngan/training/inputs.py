"""The inputs of each training step, as a function of (seed, rank, step)."""

from __future__ import annotations

import torch

from sngan import distributed
from sngan.config import Config
from sngan.data.batches import Batches
from sngan.generators.generator import Generator
from sngan.randomness import INTERPOLATE, LABEL, LATENT, generator
from sngan.training.step import Inputs


class InputStream:
    """`stream(step)` gives the inputs of a step: real images from `batches`, latents N(0, I), uniform labels of the fakes.

    `attempt` counts how often the run has gone back to a checkpoint; with each, latents and labels are others.
    """

    attempt = 0

    def __init__(self, config: Config, G: Generator, batches: Batches, device: torch.device):
        self.config, self.batches, self.device = config, batches, device
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
        if not self.n_classes:
            return Inputs(x_real, None, z_D, None, epsilon, z_G, None)
        key = self._key(LABEL, step)
        y = torch.randint(self.n_classes, (d_steps * n + m,), device=self.device, generator=generator(self.device, *key))
        return Inputs(x_real, y_real, z_D, y[: d_steps * n].view(d_steps, n), epsilon, z_G, y[d_steps * n :])

    def _key(self, stream: int, step: int) -> tuple[int, ...]:
        key = self.config.seed, stream, distributed.rank(), step
        return (*key, self.attempt) if self.attempt else key
