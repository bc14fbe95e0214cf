"""Spectral normalisation (Miyato et al. 2018): every weight W of a network is used as W_SN = W / sigma(W).

`power_iteration`, `sigma` and `normalized` are Algorithm 1 of the paper for one weight. They are the definition, and they run on a CPU.
`batched_power_iteration.py` does the same for all weights together, and a test compares the two. `in_place.py` offers the same norm for
any network, without the wrapper of this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sngan.errors import UserError
from sngan.layers.batched_power_iteration import Batches
from sngan.layers.linear_maps import CONVOLUTIONS, Convolution, LinearMap, Matrices, Weight
from sngan.layers.normalized import Network, Normalized, Scale
from sngan.layers.weights import Found, beside, dimension, parameter_name


class Bound(NamedTuple):
    """A weight and its singular vectors, for one computation."""

    W: Tensor
    u: Tensor
    v: Tensor
    map: LinearMap


def normalized(weight: Weight, iterations: int) -> Tensor:
    """W_SN = W / sigma(W) after this many power iterations, in the shape of W (paper Algorithm 1)."""
    for _ in range(iterations):
        power_iteration(weight)
    return divide(weight.W, sigma(weight))


@torch.no_grad()
def power_iteration(weight: Weight) -> Tensor:
    """v <- W^T u / |W^T u|,  u <- W v / |W v|: updates u and v in place; returns sigma(W) = u^T W v with them, which is |W v|."""
    A, W, u, v = weight.map, weight.W, weight.u, weight.v
    t = A.adjoint(W, u)
    torch.div(t, A.length(t), out=v)
    t = A.forward(W, v)
    length = A.length(t)
    torch.div(t, length, out=u)
    return length.flatten() if A.blocks > 1 else length


def sigma(weight: Weight) -> Tensor:
    """sigma(W) = u^T W v, a scalar or [blocks]; u and v stay as they are.

    They are constants, so that d sigma / dW = u v^T, and for g = dL/dW_SN: dL/dW = (g - <g, W_SN> u v^T) / sigma (paper eq. 12).
    """
    u, v = weight.u.clone(), weight.v.clone()  # copies, which no later iteration changes
    value: Tensor = weight.map.inner(u, weight.map.forward(weight.W, v))
    return value


@torch.no_grad()
def converge(weight: Weight, tolerance: float, *, most: int) -> Tensor:
    """Runs power iterations, in place, until some singular value lies within tolerance * sigma of each sigma, and `most` at most.

    |W^T u - sigma v| bounds the distance from sigma to the nearest singular value. Returns sigma, a scalar or [blocks].
    """
    A = weight.map
    for _ in range(most):
        value = power_iteration(weight)
        residual = A.adjoint(weight.W, weight.u) - (value.unsqueeze(-1) if A.blocks > 1 else value) * weight.v
        if bool((A.inner(residual, residual).abs().sqrt() <= tolerance * value).all()):
            break
    return value


def divide(W: Tensor, sigma: Tensor) -> Tensor:
    """W / sigma, for a sigma of each of W's blocks if it is [blocks]."""
    # times 1 / sigma: the gradient of a quotient makes three more tensors as large as W and takes 1.7 times as long
    return multiply(W, sigma.reciprocal())


def multiply(W: Tensor, factor: Tensor) -> Tensor:
    """factor * W, for a factor for each of W's blocks if it is [blocks]."""
    if factor.dim():
        factor = factor.repeat_interleave(len(W) // len(factor)).view(-1, *[1] * (W.dim() - 1))
    return W * factor


WARMUP_ITERATIONS = 100
"""Power iterations from a random u, far from the top singular vector, to a sigma within 1 % of its exact value for every initial weight of
the paper's networks (15, the usual number, gives 6 %)."""

LAYER_BY_LAYER_ON = frozenset({"cpu"})
"""Kinds of device that run the definition. On others the cost is the number of kernels, so layers are batched."""


@dataclass(frozen=True)
class LayerWeight:
    """A layer's weight with its singular vectors in two buffers of the layer: `u` and `v`, after any other parameter's name."""

    layer: Any
    attribute: str
    map: LinearMap

    @property
    def buffers(self) -> tuple[str, str]:
        """The names of the buffers."""
        return beside(self.attribute, "u"), beside(self.attribute, "v")

    @property
    def W(self) -> Tensor:
        """The parameter."""
        W: Tensor = getattr(self.layer, self.attribute)
        return W

    @property
    def u(self) -> Tensor:
        """The left singular vector."""
        u: Tensor = getattr(self.layer, self.buffers[0])
        return u

    @property
    def v(self) -> Tensor:
        """The right singular vector."""
        v: Tensor = getattr(self.layer, self.buffers[1])
        return v

    def start(self) -> None:
        """Registers the buffers: a random u, always the same for a shape."""
        for name, value in zip(self.buffers, self.map.start(self.W.detach()), strict=True):
            self.layer.register_buffer(name, value)


class SingularVectors:
    """Keeps u and v of some weights, by name, and advances them together.

    The constructor runs power iterations from a fixed start, independent of the global random state. All arithmetic is in the parameters'
    own type, also under autocast.
    """

    def __init__(self, weights: dict[str, LayerWeight]):
        self.weights: Mapping[str, LayerWeight] = weights
        self._batches: Batches | None = None
        for weight in weights.values():
            weight.start()
        self.advance(WARMUP_ITERATIONS)

    def advance(self, iterations: int = 1) -> None:
        """Runs this many power iterations on all weights, in place."""
        with self._without_autocast():
            if batches := self.batches():
                batches.advance(iterations)
            for weight in self._alone().values():
                for _ in range(iterations):
                    power_iteration(weight)

    def divided(self, *, iterations: int = 0) -> dict[str, Tensor]:
        """W / sigma(W) of each weight, by name, after this many power iterations."""
        with self._without_autocast():
            batches = self.batches()
            divided = batches.divided(iterations) if batches else {}
            divided.update({name: normalized(weight, iterations) for name, weight in self._alone().items()})
            return {name: divided[name] for name in self.weights}

    def sigmas(self) -> dict[str, Tensor]:
        """sigma(W) with the present u and v, differentiable scalars by name, `name.0`, `name.1`, … for blocks; u and v stay as they are."""
        with self._without_autocast():
            return by_block({name: sigma(weight) for name, weight in self.weights.items()})

    def batches(self) -> Batches | None:
        """The matrices in batches; None where they are run one by one: on a CPU, and under transforms of `torch.func`."""
        if self._device() in LAYER_BY_LAYER_ON or is_transformed():
            return None
        if self._batches is None:
            matrices = {name: weight for name, weight in self.weights.items() if isinstance(weight.map, Matrices)}
            self._batches = Batches(matrices) if matrices else None
        return self._batches

    def _alone(self) -> dict[str, LayerWeight]:
        """The weights that are in no batch."""
        batches = self.batches()
        return {name: weight for name, weight in self.weights.items() if batches is None or name not in batches.names}

    def _without_autocast(self) -> torch.autocast:
        return torch.autocast(self._device(), enabled=False)

    def _device(self) -> str:
        return next(iter(self.weights.values())).W.device.type


def by_block(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scalars by name from scalars and vectors: the elements of a vector are `name.0`, `name.1`, …"""
    scalars: dict[str, Tensor] = {}
    for name, value in values.items():
        scalars.update({f"{name}.{i}": element for i, element in enumerate(value)} if value.dim() else {name: value})
    return scalars


def is_transformed() -> bool:
    """Whether a transform of `torch.func` (vmap, jvp, …) or forward-mode differentiation is running: then only plain operations do."""
    return torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0


def follow_sigma(
    network: Normalized[Any],
    found: dict[str, Found] | None = None,
    *,
    sizes: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Gives weights (by default all) buffers `u` and `v`, so that `network.vectors` tracks their sigma; does nothing if it already does.

    `sizes` are those of the maps [H, W] that convolutions see, by layer name: their sigma is then that of the convolution as a linear map,
    not of its matrix. Raises `UserError` if the sigma of a weight is not a positive number.
    """
    if network.vectors is not None:
        return
    found = network.chosen_weights([]) if found is None else found
    tracked = {}
    for name, weight in found.items():
        if sizes is not None and isinstance(weight.layer, CONVOLUTIONS):
            linear_map: LinearMap = Convolution.of(weight.layer, sizes[name])
        else:
            linear_map = Matrices(dimension(weight.layer, weight.attribute), weight.blocks, channels_last=True)
        tracked[name] = LayerWeight(weight.layer, weight.attribute, linear_map)
        network.refuse_own(parameter_name(name, weight), weight.layer, *tracked[name].buffers)
    network.vectors = SingularVectors(tracked)
    for name, weight in found.items():
        value = sigma(tracked[name]).detach()
        if not ((value > 0.0) & (value < math.inf)).all():
            name = parameter_name(name, weight)
            raise UserError(f"{name} is too small or too large: its norm is 0 or infinite; initialise it differently")


class SpectralNorm(Normalized[Network]):
    """`network` with the weights of all its layers (`weights.py`) spectrally normalised.

    The network stays plain: its parameters are the W, and it is run with `scale` * W / sigma in their place. Each layer gets buffers `u`
    [out] and `v` [kh * kw * in]. With `sizes`, the maps [H, W] that each convolution sees, by its name, a convolution is divided by its
    norm as a linear map on such maps; its u is then [out, H', W'] and its v [in, H, W]. With `scale="learned"` each weight also gets a
    parameter `gamma`, a scalar that starts at sigma(W), so that the network starts as it would without the norm (paper appendix E; the
    initial value is from the author code).

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
        sizes: Mapping[str, tuple[int, ...]] | None = None,
    ):
        super().__init__(network)
        chosen = self.chosen_weights(exclude)
        follow_sigma(self, chosen, sizes=sizes)
        self.power_iterations, self.scale = power_iterations, scale
        self.iterates_per_forward = iterate_per == "forward"
        self._parameters_of = {name: parameter_name(name, weight) for name, weight in chosen.items()}
        if scale == "learned":
            for name, weight in self.vectors.weights.items():
                gamma = beside(weight.attribute, "gamma")
                self.refuse_own(self._parameters_of[name], weight.layer, gamma)
                weight.layer.register_parameter(gamma, nn.Parameter(sigma(weight).detach().clone()))

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """scale * W / sigma of each layer, by parameter name; in the parameters' own type, also under autocast.

        `update` advances u and v first, in place.
        """
        weights = self.vectors.divided(iterations=self.power_iterations if update else 0)
        if self.scale == "learned":
            weights = {name: multiply(weight, self._gamma(name)) for name, weight in weights.items()}
        elif self.scale != 1.0:
            weights = {name: self.scale * weight for name, weight in weights.items()}
        return {self._parameters_of[name]: weight for name, weight in weights.items()}

    def _gamma(self, name: str) -> Tensor:
        """The learned scale of a weight, a scalar or [blocks]."""
        layer, _, attribute = self._parameters_of[name].rpartition(".")
        return self.network.get_submodule(layer).get_parameter(beside(attribute, "gamma"))

    def advance(self) -> None:
        """Runs the power iterations alone, without normalised weights."""
        self.vectors.advance(self.power_iterations)
