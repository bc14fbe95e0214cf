"""The generated images for a step's discriminator updates, which all come from one version of G."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sngan.generators.generator import Generator
from sngan.layers.batch_norm import groups, takes_groups
from sngan.layers.normalized import Normalized

TOGETHER_ON = frozenset({"cuda"})
"""Kinds of device on which one forward of all batches is faster: fewer and larger kernels. On a CPU they would not fit its cache."""


@torch.no_grad()
def fakes(
    G: Normalized[Generator], weights: dict[str, Tensor] | None, z: Tensor, y: Tensor | None, *, micro_batches: int = 1
) -> Sequence[Tensor]:
    """d_steps batches of images [N, C, H, W], for latents z [d_steps, N, Z] and labels y int64 [d_steps, N].

    Each batch has its own batch statistics in batch norm, whether the batches go through G together or one after the other. With several
    micro-batches each of them has; the first ones of all batches go through G, then the second ones.
    """
    if micro_batches > 1:
        labels = [None] * micro_batches if y is None else y.chunk(micro_batches, dim=1)
        parts = [fakes(G, weights, *part) for part in zip(z.chunk(micro_batches, dim=1), labels, strict=True)]
        return [torch.cat(batch) for batch in zip(*parts, strict=True)]
    together = z.device.type in TOGETHER_ON and weights is not None and takes_groups(G.network)
    if not together:
        return [G(z[i], None if y is None else y[i], weights=weights) for i in range(len(z))]
    with groups(G.network, len(z)):
        x: Tensor = G(z.flatten(0, 1), None if y is None else y.flatten(), weights=weights)
    return x.chunk(len(z))
