"""Björck orthonormalisation (Björck & Bowie 1971; for networks of slope 1: Anil, Lucas & Grosse 2019): all singular values at 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sngan.layers.linear_maps import Matrices
from sngan.layers.normalized import Network, Normalized
from sngan.layers.spectral_norm import SingularVectors, follow_sigma
from sngan.layers.weights import parameter_name

ITERATIONS = 15
"""From a singular value of 0.005 of the largest to 1 within 1 %: a small one grows 1.5 times in each."""


class Bjorck(Normalized[Network]):
    """`network` with each weight matrix [out, kh * kw * in] used as `scale` times its nearest matrix with orthonormal rows (or columns).

    Spectral norm brings the largest singular value to 1 and keeps the ratios of the others; here all come to 1. From W / sigma(W), with u
    and v as in spectral norm, `ITERATIONS` times A <- 3/2 A - 1/2 A A^T A, and the gradient goes through all of them.

    `exclude` names layers (patterns as in file names) that keep their weights. Each update of sigma runs `power_iterations` iterations.
    Raises `UserError` if a weight is zero or not finite, and for a pattern without a layer.
    """

    vectors: SingularVectors

    def __init__(self, network: Network, *, power_iterations: int = 1, scale: float = 1.0, exclude: Sequence[str] = ()):
        super().__init__(network)
        chosen = self.chosen_weights(exclude)
        follow_sigma(self, chosen)
        self.power_iterations, self.scale = power_iterations, scale
        self._parameters_of = {name: parameter_name(name, weight) for name, weight in chosen.items()}

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """The orthonormal weights, by parameter name, in the parameters' own type, also under autocast; `update` advances u and v first."""
        weights = {}
        for name, W in self.vectors.divided(iterations=self.power_iterations if update else 0).items():
            layout = self.vectors.weights[name].map
            assert isinstance(layout, Matrices)
            with torch.autocast(W.device.type, enabled=False):
                A = layout.unmatrix(orthonormal(layout.matrix(W)), W.shape)
                weights[self._parameters_of[name]] = self.scale * (
                    A.contiguous() if W.is_contiguous() else A
                )  # in W's memory format
        return weights

    def advance(self) -> None:
        """Runs the power iterations alone."""
        self.vectors.advance(self.power_iterations)


def orthonormal(A: Tensor) -> Tensor:
    """The matrix [..., out, columns] with the singular vectors of A and singular values of 1, for an A whose largest is 1."""
    for _ in range(ITERATIONS):
        A = 1.5 * A - 0.5 * (A @ A.mT @ A if A.shape[-2] <= A.shape[-1] else A @ (A.mT @ A))
    return A
