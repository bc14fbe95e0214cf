"""Images from a generator, as a function of (seed, index): sample i depends neither on the batch size nor on the number of samples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sngan.config import Config, Rounding
from sngan.generators.generator import Generator
from sngan.precision import precision
from sngan.randomness import RECALIBRATE, SAMPLE, generator
from sngan.sampling.fitting import batch_of
from sngan.sampling.rounding import quantize

BLOCK = 1000
"""Latents are drawn in blocks of this size, each from its own key."""


def latents(n: int, z_dim: int, *, seed: int, stream: int = SAMPLE) -> Tensor:
    """The first n latents [n, Z] of a seed, on the CPU; latent i is the same for every n."""
    blocks = [torch.randn(BLOCK, z_dim, generator=generator("cpu", seed, stream, block)) for block in range(-(-n // BLOCK))]
    return torch.cat(blocks)[:n]


def latents_of(seeds: Sequence[int], n: int, z_dim: int) -> Tensor:
    """The first n latents of each seed, one seed after the other: [len(seeds) * n, Z]."""
    return torch.cat([latents(n, z_dim, seed=seed) for seed in seeds])


def balanced_labels(n: int, n_classes: int) -> Tensor | None:
    """Labels 0, 1, …, K-1, 0, 1, … int64 [n]; None for an unconditional generator."""
    return torch.arange(n) % n_classes if n_classes else None


def samples(G: Generator, z: Tensor, y: Tensor | None, *, rounding: Rounding, batch: int | None = None) -> Iterator[Tensor]:
    """Batches of images uint8 [<= batch, C, H, W] on G's device, for latents z [n, Z] and labels y [n]; `at_once(G)` by default.

    G runs in its present mode, in float32 without TF32, whatever precision it was trained in.
    """
    for x in _generated(G, z, y, batch=batch or at_once(G)):
        yield quantize(x, rounding)


def at_once(G: Generator) -> int:
    """The images that G makes in a batch: 250, or fewer large ones."""
    device = next(G.parameters()).device
    y = torch.zeros(1, dtype=torch.int64, device=device) if G.n_classes else None
    return batch_of(G, torch.zeros(1, G.z_dim, device=device), y)


@torch.no_grad()
def _generated(G: Generator, z: Tensor, y: Tensor | None, *, batch: int) -> Iterator[Tensor]:
    """Like `samples`, but before rounding, float32."""
    device = next(G.parameters()).device
    for start in range(0, len(z), batch):
        labels = None if y is None else y[start : start + batch].to(device)
        with precision("fp32", device):
            x = G(z[start : start + batch].to(device), labels)  # [<= batch, C, H, W]
        yield x


@torch.no_grad()
def recalibrated(G: Generator, *, batches: int, batch: int, seed: int) -> Generator:
    """A copy of G, in evaluation mode, whose batch-norm statistics are measured with its own weights.

    An averaged generator has running statistics that were measured on the trained one. Here they become the mean over `batches` batches
    of `batch` samples, without momentum; with 0 batches they stay as they are.
    """
    G = copy.deepcopy(G).eval()
    norms = [m for m in G.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not batches or not norms:
        return G
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    z = latents(batches * batch, G.z_dim, seed=seed, stream=RECALIBRATE)
    y = balanced_labels(batches * batch, G.n_classes)
    for _ in _generated(G.train(), z, y, batch=batch):
        pass
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return G.eval()


def prepared(G: Generator, config: Config, weights: Literal["ema", "raw"]) -> tuple[Generator, str]:
    """G as it is scored and shown, with recalibrated batch norm for averaged weights, and the name of its statistics (`batch_norm`)."""
    if weights == "ema":
        n = config.ema.recalibrate * config.accumulate
        G = recalibrated(G, batches=n, batch=config.g_micro_batch, seed=config.seed)
    return G.eval(), batch_norm(config, weights)


def batch_norm(config: Config, weights: Literal["ema", "raw"]) -> str:
    """The name in records of the batch-norm statistics that `prepared` gives."""
    if weights == "raw" or not config.ema.recalibrate:
        return "running statistics"
    return f"recalibrated over {config.ema.recalibrate * config.accumulate} batches of {config.g_micro_batch}"
