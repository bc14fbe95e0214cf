"""Spectral normalisation: every weight W of a network is used as W / sigma(W) (paper section 2.1, Algorithm 1).

sigma(W), the largest singular value of W reshaped to [out, in * kh * kw], is tracked by one power iteration per update of the weights:

    v <- W^T u / |W^T u|,    u <- W v / |W v|,    sigma = u^T W v

with u, v constant for differentiation, so that the gradient flows through sigma by way of W (paper eq. 12).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sngan.errors import UserError

WARMUP_ITERATIONS = 15
"""A random u is far from the top singular vector; some 15 iterations make sigma right from the first step."""

NORMALIZED = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear | nn.Embedding
)


class SpectralNorm(nn.Module):
    """`network` with every convolution, transposed convolution, linear layer and embedding spectrally normalised.

    The network stays plain: its parameters are the W, and it is run with W / sigma in their place. Each layer gets buffers `u` [out]
    and `v` [in * kh * kw], changed only in place.

    Called without `weights` it behaves like any module: in training mode each call advances u, v by one power iteration, in evaluation
    mode they are read and never moved. A training step instead normalises once per version of the weights and shares the result among
    all calls that see this version:

        weights = D.normalize(update=True)
        logits = D(x, y, weights=weights)

    Initialise the network before wrapping it. Raises `UserError` if a weight is zero or not finite.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self._layers = [name for name, module in network.named_modules() if isinstance(module, NORMALIZED)]
        assert self._layers, "nothing to normalise"
        for name in self._layers:
            W = self._matrix(name).detach()
            if not (torch.isfinite(W).all() and W.any()):
                raise UserError(f"{name}.weight is zero or not finite, so it has no spectral norm; initialise it first")
            # a fixed start, since 15 iterations forget it: building D then depends on nobody's random numbers
            generator = torch.Generator().manual_seed(0)
            u = F.normalize(torch.randn(W.shape[0], generator=generator).to(W), dim=0)
            for _ in range(WARMUP_ITERATIONS):
                u, v = power_iteration(W, u)
            layer = self._layer(name)
            layer.register_buffer("u", u)  # [out]
            layer.register_buffer("v", v)  # [in * kh * kw]

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """W / sigma of every layer, by parameter name; always float32, also under autocast.

        `update` advances u and v by one power iteration first, in place.
        """
        normalized = {}
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            for name in self._layers:
                layer, W = self._layer(name), self._matrix(name)
                if update:
                    with torch.no_grad():
                        u, v = power_iteration(W, layer.u)
                        layer.u.copy_(u)
                        layer.v.copy_(v)
                else:
                    # copies, so that a later update in place does not disturb this call's backward
                    u, v = layer.u.clone(), layer.v.clone()
                sigma = torch.dot(u, torch.mv(W, v))
                normalized[f"{name}.weight"] = layer.weight / sigma
        return normalized

    def forward(self, *inputs: Tensor | None, weights: dict[str, Tensor] | None = None) -> Tensor:
        """The network's output with `weights` (what `normalize` gave) in place of its own."""
        if weights is None:
            weights = self.normalize(update=self.training)
        return functional_call(self.network, weights, inputs)

    @torch.no_grad()
    def sigmas(self) -> dict[str, Tensor]:
        """The present estimate of each layer's sigma, a scalar tensor by layer name; moves nothing."""
        estimates = {}
        for name in self._layers:
            layer = self._layer(name)
            estimates[name] = torch.dot(layer.u, torch.mv(self._matrix(name), layer.v))
        return estimates

    def _layer(self, name: str) -> Any:
        """A module with `weight`, and, once it is normalised, `u` and `v`."""
        return self.network.get_submodule(name)

    def _matrix(self, name: str) -> Tensor:
        """The layer's weight as the matrix whose norm is meant, [out, in * kh * kw]."""
        layer = self._layer(name)
        weight: Tensor = layer.weight
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            weight = weight.transpose(0, 1)  # stored [in, out, kh, kw]
        return weight.flatten(1)


def power_iteration(W: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One step towards the top singular pair of W [R, C] from u [R]: the new unit vectors u [R] and v [C]."""
    v = F.normalize(torch.mv(W.T, u), dim=0)
    return F.normalize(torch.mv(W, v), dim=0), v


def bake(module: SpectralNorm) -> nn.Module:
    """A plain copy of the network that holds the normalised weights W / sigma, for use without `SpectralNorm`."""
    plain = copy.deepcopy(module.network)
    for name, weight in module.normalize(update=False).items():
        layer: Any = plain.get_submodule(name.removesuffix(".weight"))
        layer.weight = nn.Parameter(weight.detach())
        del layer.u, layer.v
    return plain
