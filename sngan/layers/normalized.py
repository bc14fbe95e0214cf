"""A network that runs with weights made from its parameters: what spectral norm, weight norm and no norm at all have in common."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sngan.errors import UserError

Scale = float | Literal["learned"]
Network = TypeVar("Network", bound=nn.Module)

LAYERS = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear | nn.Embedding
"""What has a weight matrix here: convolutions, transposed convolutions, linear layers, embeddings. Nothing else is normalised."""


class Vectors(Protocol):
    """What follows sigma(W) of some layers, as `spectral_norm.SingularVectors` does."""

    def advance(self, iterations: int = 1) -> None:
        """So many power iterations of all layers, in place."""

    def sigmas(self) -> dict[str, Tensor]:
        """sigma(W) of each layer as it is known now, a differentiable scalar by layer name."""


class Normalized(nn.Module, Generic[Network]):
    """`network`, run with weights that are a function of its parameters; in this class they are the parameters themselves.

    A training step normalises once per version of the parameters, and shares the result among all calls that see this version:

        weights = D.normalize(update=True)
        logits = D(x, y, weights=weights)

    Called without `weights` it behaves like any module and normalises for itself.
    """

    iterates_per_forward = False
    """Whether each forward in training mode is meant to normalise for itself, so that nothing is shared."""
    vectors: Vectors | None = None
    """u, v and so sigma of each layer, where they are tracked: in spectral norm, and after `spectral_norm.follow_sigma`."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        self.uses_batch_statistics = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())
        """Whether an output depends on the other inputs of its batch."""
        self.added: dict[str, list[str]] = {}
        """Attributes that a norm has given to layers, by layer name."""

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """The weights to run with, by parameter name; those left out are used as they are.

        `update` first brings what is tracked along with the parameters up to date, in place.
        """
        return {}

    def forward(self, *inputs: Any, weights: dict[str, Tensor] | None = None, **named: Any) -> Tensor:
        """The network's output with `weights` (what `normalize` gave) in place of its own."""
        if weights is None:
            weights = self.normalize(update=self.training)
        if not weights:
            return self.network(*inputs, **named)
        # a layer that is reached by two names gets its weight by the first of them, which serves both
        return functional_call(self.network, weights, inputs, named, tie_weights=False)

    def advance(self) -> None:
        """Brings what is tracked along with the parameters up to date, in place."""

    def refuse_own(self, name: str, layer: Any, *added: str) -> None:
        """What is added to a layer must not be there already, and is what `bake` removes."""
        for attribute in added:
            if hasattr(layer, attribute):
                raise UserError(f"{name} has an attribute {attribute} already, which this norm would replace; rename it")
        self.added.setdefault(name, []).extend(added)

    @torch.no_grad()
    def sigmas(self) -> dict[str, Tensor]:
        """The present estimate of each tracked layer's sigma(W), a scalar tensor by layer name; moves nothing."""
        return self.vectors.sigmas() if self.vectors else {}

    def layers(self) -> dict[str, Any]:
        """The modules that have a weight matrix, by name."""
        return {name: module for name, module in self.network.named_modules() if isinstance(module, LAYERS)}

    def chosen_layers(self, exclude: Sequence[str]) -> dict[str, Any]:
        """The layers that match none of the patterns; raises `UserError` for a pattern that matches nothing, or if nothing is left."""
        layers = self.layers()
        for pattern in exclude:
            if not any(fnmatch(name, pattern) for name in layers):
                raise UserError(f"exclude={pattern}: no layer is called so; the layers are {', '.join(layers)}")
        chosen = {name: layer for name, layer in layers.items() if not any(fnmatch(name, pattern) for pattern in exclude)}
        if not chosen:
            raise UserError(f"exclude={list(exclude)} leaves no layer to normalise; for that there is normalization=none")
        for name, layer in chosen.items():
            W = layer.weight.detach()
            if not (torch.isfinite(W).all() and W.any()):
                raise UserError(f"{name}.weight is zero or not finite, so it cannot be normalised; initialise it first")
        return chosen


def bake(module: Normalized[Network]) -> Network:
    """A plain copy of the network that holds the normalised weights, in the mode it is in, for use without its wrapper."""
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
