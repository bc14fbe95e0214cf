"""A network that runs with weights computed from its parameters: the interface of spectral norm, weight norm and no norm."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sngan.errors import UserError
from sngan.layers.weights import LAYERS, Found, parameter_name, refuse_unusable, weights, without

Scale = float | Literal["learned"]
Network = TypeVar("Network", bound=nn.Module)


class Vectors(Protocol):
    """Tracks sigma(W) of some weights, as `spectral_norm.SingularVectors` does."""

    @property
    def weights(self) -> Mapping[str, Any]:
        """The weights, by name, each with W, u, v and the linear map that it is (`spectral_norm.Weight`)."""

    def advance(self, iterations: int = 1) -> None:
        """Runs this many power iterations on all weights, in place."""

    def sigmas(self) -> dict[str, Tensor]:
        """The present estimate of each weight's sigma(W), a differentiable scalar by name."""


class Normalized(nn.Module, Generic[Network]):
    """`network`, run with weights that are a function of its parameters; in this class, with the parameters themselves.

    A training step normalises once per version of the parameters and shares the weights among all forwards with this version:

        weights = D.normalize(update=True)
        logits = D(x, y, weights=weights)

    Called without `weights` it behaves like any module and normalises for itself.
    """

    iterates_per_forward = False
    """Whether each forward in training mode normalises for itself, so that no weights are shared."""
    vectors: Vectors | None = None
    """u, v and so sigma of each layer, if they are tracked: in spectral norm, and after `spectral_norm.follow_sigma`."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        self.uses_batch_statistics = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
        """Whether an output depends on the other inputs of its batch."""
        self.added: dict[str, list[str]] = {}
        """Attributes that a norm has added to layers, by layer name."""

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """The weights to run with, by parameter name; parameters that are not in it are used as they are.

        With `update`, u and v are first advanced, in place, if they are tracked.
        """
        if update and self.vectors:
            self.vectors.advance()
        return {}

    def forward(self, *inputs: Any, weights: dict[str, Tensor] | None = None, **named: Any) -> Tensor:
        """The network's output with `weights`, as `normalize` returns them, in place of its own."""
        if weights is None:
            weights = self.normalize(update=self.training)
        if weights:  # a shared layer has two names; the weight under the first of them serves both
            output: Tensor = functional_call(self.network, weights, inputs, named, tie_weights=False)
        else:
            output = self.network(*inputs, **named)
        return output

    def advance(self) -> None:
        """Advances u and v, in place, if they are tracked."""

    def refuse_own(self, parameter: str, layer: Any, *added: str) -> None:
        """Raises `UserError` if the layer of a parameter has one of the attributes to be added, and notes them for `bake` to remove."""
        name = parameter.rpartition(".")[0]
        for attribute in added:
            if hasattr(layer, attribute):
                raise UserError(f"{name} has an attribute {attribute} already, which this norm would replace; rename it")
        self.added.setdefault(name, []).extend(added)

    @torch.no_grad()
    def sigmas(self) -> dict[str, Tensor]:
        """The present estimate of each tracked layer's sigma(W), a scalar tensor by layer name; u and v stay as they are."""
        return self.vectors.sigmas() if self.vectors else {}

    def layers(self) -> dict[str, Any]:
        """The modules that have a weight matrix, by name."""
        return {name: module for name, module in self.network.named_modules() if isinstance(module, LAYERS)}

    def chosen_weights(self, exclude: Sequence[str]) -> dict[str, Found]:
        """The weights that match none of the patterns; raises `UserError` for a pattern that matches nothing, or if nothing is left."""
        chosen = without(weights(self.network), exclude)
        if not chosen:
            raise UserError(f"exclude={list(exclude)} leaves no layer to normalise; use normalization=none for that")
        for name, weight in chosen.items():
            refuse_unusable(parameter_name(name, weight), getattr(weight.layer, weight.attribute))
        return chosen


def bake(module: Normalized[Network]) -> Network:
    """A plain copy of the network with the normalised weights as its parameters, in the same mode, for use without the wrapper."""
    plain = copy.deepcopy(module.network)
    with torch.no_grad():
        weights = module.normalize(update=False)
    for name, weight in weights.items():
        owner, _, attribute = name.rpartition(".")
        trains = module.network.get_parameter(name).requires_grad
        # a parameter of its own: the layer may have shared its weight with another
        setattr(plain.get_submodule(owner), attribute, nn.Parameter(weight.clone(), requires_grad=trains))
    for name, added in module.added.items():
        for attribute in added:
            delattr(plain.get_submodule(name), attribute)
    return plain
