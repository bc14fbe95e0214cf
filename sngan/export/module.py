"""What is exported: a generator with truncation before it and rounding after it, as operations that every runtime has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sngan.config import Rounding
from sngan.generators.generator import Generator
from sngan.sampling.rounding import quantize


class ExportedModule(nn.Module):
    """z float32 [N, Z], and labels y int64 [N] of a conditional generator -> images [N, C, H, W], float32 in [-1, 1] or uint8 in 0..255."""

    def __init__(self, G: Generator, *, rounding: Rounding | None, truncation: float | None):
        super().__init__()
        self.G, self.rounding, self.truncation = G, rounding, truncation

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.truncation is not None:
            z = truncated(z, self.truncation)
        x: Tensor = self.G(z, y)
        return x if self.rounding is None else quantize(x, self.rounding)


def truncated(z: Tensor, psi: float) -> Tensor:
    """As `sngan.sampling.truncation.truncated`, within some 1e-6, by erf and arithmetic alone, because ONNX has no inverse of ndtr."""
    below = float(torch.special.ndtr(torch.tensor(-psi, dtype=torch.float64)))
    # the half below zero, where a probability in float32 has all its digits
    p = below + (1.0 - 2.0 * below) * 0.5 * (1.0 + torch.erf(-z.abs() / 2**0.5))
    return (-z.sign() * _ndtri_below_zero(p)).clamp(-psi, psi)


def _ndtri_below_zero(p: Tensor) -> Tensor:
    """The quantile of N(0, 1) at p in (1e-11, 0.5], to seven digits: PPND7 (Wichura 1988, algorithm AS 241)."""
    q = p - 0.5
    r = 0.180625 - q * q
    middle = (
        q
        * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179)
        / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0)
    )
    r = (-p.clamp_min(1e-30).log()).sqrt() - 1.6
    tail = (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) / (
        (0.12021132975 * r + 0.73700164250) * r + 1.0
    )
    return torch.where(q >= -0.425, middle, -tail)
