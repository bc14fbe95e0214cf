"""Spectral normalisation (Miyato et al. 2018): every weight W of a network is used as W_SN = W / sigma(W).

`power_iteration`, `sigma` and `normalized` are Algorithm 1 of the paper for one layer. They are the definition, and they run on a CPU.
`batched_power_iteration.py` does the same for all layers together, and a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sngan.errors import UserError
from sngan.layers.batched_power_iteration import Batches
from sngan.layers.matrices import matrix
from sngan.layers.normalized import Network, Normalized, Scale


def normalized(layer: Any, iterations: int) -> Tensor:
    """W_SN = W / sigma(W) of a layer after this many power iterations, in the shape of its weight (paper Algorithm 1)."""
    for _ in range(iterations):
        power_iteration(layer)
    W: Tensor = layer.weight
    # times 1 / sigma: the gradient of a quotient makes three more tensors as large as W and takes 1.7 times as long
    return W * (1.0 / sigma(layer))


@torch.no_grad()
def power_iteration(layer: Any) -> None:
    """v <- W^T u / |W^T u|,  u <- W v / |W v|: updates the layer's buffers u [out] and v [kh * kw * in], in place."""
    W, u, v = matrix(layer, layer.weight), layer.u, layer.v  # W [out, kh * kw * in]
    v.copy_(unit(W.T @ u))
    u.copy_(unit(W @ v))


def sigma(layer: Any) -> Tensor:
    """sigma(W) = u^T W v, a scalar; u and v stay as they are.

    They are constants, so that d sigma / dW = u v^T, and for g = dL/dW_SN: dL/dW = (g - <g, W_SN> u v^T) / sigma (paper eq. 12).
    """
    W, u, v = matrix(layer, layer.weight), layer.u.clone(), layer.v.clone()  # copies, which no later iteration changes
    value: Tensor = u @ (W @ v)
    return value


def unit(x: Tensor) -> Tensor:
    """x / |x|."""
    norm: Tensor = torch.linalg.vector_norm(x)
    return x / norm


WARMUP_ITERATIONS = 100
"""Power iterations from a random u, far from the top singular vector, to a sigma within 1 % of its exact value for every initial weight of
the paper's networks (15, the usual number, gives 6 %)."""

LAYER_BY_LAYER_ON = frozenset({"cpu"})
"""Kinds of device that run the definition. On others the cost is the number of kernels, so layers are batched."""


class SingularVectors:
    """Keeps buffers `u` [out] and `v` [kh * kw * in] on each layer, and changes them only in place.

    The constructor runs power iterations from a fixed start, independent of the global random state. All arithmetic is in the parameters'
    own type, also under autocast.
    """

    def __init__(self, layers: dict[str, Any]):
        self._layers = layers
        self._batches: Batches | None = None
        for layer in layers.values():
            W = matrix(layer, layer.weight.detach())
            u = torch.randn(len(W), generator=torch.Generator().manual_seed(0))
            layer.register_buffer("u", unit(u).to(W))
            layer.register_buffer("v", torch.zeros_like(W[0]))
        self.advance(WARMUP_ITERATIONS)

    def advance(self, iterations: int = 1) -> None:
        """Runs this many power iterations on all layers, in place."""
        with self._without_autocast():
            if batches := self.batches():
                batches.advance(iterations)
                return
            for layer in self._layers.values():
                for _ in range(iterations):
                    power_iteration(layer)

    def divided(self, *, iterations: int = 0) -> dict[str, Tensor]:
        """W / sigma(W) of each layer, by layer name, after this many power iterations; if batched, differentiable only once."""
        with self._without_autocast():
            if batches := self.batches():
                return batches.divided(iterations)
            return {name: normalized(layer, iterations) for name, layer in self._layers.items()}

    def sigmas(self) -> dict[str, Tensor]:
        """sigma(W) of each layer with the present u and v, a differentiable scalar by layer name; u and v stay as they are."""
        with self._without_autocast():
            return {name: sigma(layer) for name, layer in self._layers.items()}

    def batches(self) -> Batches | None:
        """The layers in batches; None on a device that runs them layer by layer."""
        if self._device() in LAYER_BY_LAYER_ON:
            return None
        if self._batches is None:
            self._batches = Batches(self._layers)
        return self._batches

    def _without_autocast(self) -> torch.autocast:
        return torch.autocast(self._device(), enabled=False)

    def _device(self) -> str:
        layer = next(iter(self._layers.values()))
        return str(layer.weight.device.type)


def follow_sigma(network: Normalized[Any], layers: dict[str, Any] | None = None) -> None:
    """Gives layers (by default all) buffers `u` and `v`, so that `network.vectors` tracks their sigma; does nothing if it already does.

    Raises `UserError` if the sigma of a layer is not a positive number.
    """
    if network.vectors is not None:
        return
    layers = network.chosen_layers([]) if layers is None else layers
    for name, layer in layers.items():
        network.refuse_own(name, layer, "u", "v")
    network.vectors = SingularVectors(layers)
    for name, value in network.sigmas().items():
        if not 0.0 < float(value) < math.inf:
            raise UserError(f"{name}.weight is too small or too large: its norm is 0 or infinite; initialise it differently")


class SpectralNorm(Normalized[Network]):
    """`network` with every convolution, transposed convolution, linear layer and embedding spectrally normalised.

    The network stays plain: its parameters are the W, and it is run with `scale` * W / sigma in their place. Each layer gets buffers `u`
    [out] and `v` [kh * kw * in]. With `scale="learned"` each also gets a parameter `gamma`, a scalar that starts at sigma(W), so that
    the network starts as it would without the norm (paper appendix E; the initial value is from the author code).

    `exclude` names layers (patterns as in file names) that keep their weights. Each update of sigma runs `power_iterations` iterations.
    `iterate_per` says when: once per update of the weights as in Algorithm 1, or in each forward in training mode as in the author code
    (11 iterations a step with 5 discriminator updates). Evaluation mode never changes u and v.

    Initialise the network before wrapping it. Raises `UserError` if a weight is zero or not finite, and for a pattern without a layer.
    """

    vectors: SingularVectors

    def __init__(
        self,
        network: Network,
        *,
        power_iterations: int = 1,
        iterate_per: Literal["update", "forward"] = "update",
        scale: Scale = 1.0,
        exclude: Sequence[str] = (),
    ):
        super().__init__(network)
        chosen = self.chosen_layers(exclude)
        follow_sigma(self, chosen)
        self.power_iterations, self.scale = power_iterations, scale
        self.iterates_per_forward = iterate_per == "forward"
        if scale == "learned":
            for name, value in self.sigmas().items():
                self.refuse_own(name, chosen[name], "gamma")
                chosen[name].gamma = nn.Parameter(value.detach().clone())

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """scale * W / sigma of each layer, by parameter name; in the parameters' own type, also under autocast.

        `update` advances u and v first, in place.
        """
        weights = self.vectors.divided(iterations=self.power_iterations if update else 0)
        if self.scale == "learned":
            weights = {name: self.network.get_parameter(f"{name}.gamma") * weight for name, weight in weights.items()}
        elif self.scale != 1.0:
            weights = {name: self.scale * weight for name, weight in weights.items()}
        return {f"{name}.weight": weight for name, weight in weights.items()}

    def advance(self) -> None:
        """Runs the power iterations alone, without normalised weights."""
        self.vectors.advance(self.power_iterations)
