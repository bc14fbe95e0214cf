"""Weight normalisation (Salimans & Kingma 2016): every row of a weight matrix is used at a fixed length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sngan.errors import UserError
from sngan.layers.linear_maps import TRANSPOSED, output_dimension
from sngan.layers.normalized import Network, Normalized, Scale
from sngan.layers.weights import beside, parameter_name


class WeightNorm(Normalized[Network]):
    """`network` with each row w of each weight (the weights of one output) used as `scale` * w / |w|.

    With scale 1 the rows have length 1, which is how the paper compares it (section 3). `scale="learned"` is the original form: each
    layer gets a parameter `gamma` [out] that starts at the rows' lengths, so that the network starts as it would without the norm.
    `exclude` names layers (patterns as in file names) that keep their weights.

    Raises `UserError` if a row is zero or not finite, and for a pattern without a layer.
    """

    def __init__(self, network: Network, *, scale: Scale = 1.0, exclude: Sequence[str] = ()):
        super().__init__(network)
        self.scale = scale
        self._normalized = [parameter_name(name, weight) for name, weight in self.chosen_weights(exclude).items()]
        for parameter in self._normalized:
            layer, attribute = self._place(parameter)
            lengths = _lengths(layer, attribute)
            if not lengths.all():
                raise UserError(f"{parameter} has a row of zeros, so it cannot be normalised; initialise it first")
            if scale == "learned":
                self.refuse_own(parameter, layer, beside(attribute, "gamma"))
                layer.register_parameter(beside(attribute, "gamma"), nn.Parameter(lengths.detach().clone()))

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """scale * W / |rows of W| of each layer, by parameter name; in the parameters' own type, also under autocast."""
        weights = {}
        for parameter in self._normalized:
            layer, attribute = self._place(parameter)
            W, lengths = layer.get_parameter(attribute), _lengths(layer, attribute)
            scale = layer.get_parameter(beside(attribute, "gamma")) if self.scale == "learned" else self.scale
            weights[parameter] = W * _by_row(layer, W, scale / lengths)
        return weights

    def _place(self, parameter: str) -> tuple[nn.Module, str]:
        """The layer that has a parameter, and its name there."""
        layer, _, attribute = parameter.rpartition(".")
        return self.network.get_submodule(layer), attribute


def _groups(layer: nn.Module) -> int:
    """How many parts of the weight's first dimension have rows of their own: the groups of a transposed convolution, else 1."""
    return layer.groups if isinstance(layer, TRANSPOSED) else 1


def _lengths(layer: nn.Module, attribute: str) -> Tensor:
    """|w| of each row (the weights of one output), [out]."""
    split: Tensor = layer.get_parameter(attribute).unflatten(0, (_groups(layer), -1))  # [groups, in, out, …] if it is transposed
    kept = (0, 1 + output_dimension(layer))
    lengths: Tensor = torch.linalg.vector_norm(split, dim=[d for d in range(split.dim()) if d not in kept])
    return lengths.flatten()


def _by_row(layer: nn.Module, W: Tensor, factor: Tensor) -> Tensor:
    """A number for each row [out], in a shape that multiplies the weight: [out, 1, …], for a transposed convolution [in, out / groups, 1, …]."""
    ones = [1] * (W.dim() - 2)
    if not isinstance(layer, TRANSPOSED):
        return factor.view(-1, 1, *ones)
    groups = _groups(layer)
    return factor.view(groups, 1, -1).expand(groups, len(W) // groups, -1).reshape(*W.shape[:2], *ones)
