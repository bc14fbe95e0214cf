"""Weight normalisation (Salimans & Kingma 2016): every row of a weight matrix is used at a fixed length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sngan.errors import UserError
from sngan.layers.matrices import TRANSPOSED
from sngan.layers.normalized import Network, Normalized, Scale


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
        self._normalized = list(self.chosen_layers(exclude))
        for name in self._normalized:
            layer = network.get_submodule(name)
            lengths = _lengths(layer)
            if not lengths.all():
                raise UserError(f"{name}.weight has a row of zeros, so it cannot be normalised; initialise it first")
            if scale == "learned":
                self.refuse_own(name, layer, "gamma")
                layer.gamma = nn.Parameter(lengths.detach().flatten().clone())

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """scale * W / |rows of W| of each layer, by parameter name; in the parameters' own type, also under autocast."""
        weights = {}
        for name in self._normalized:
            layer: Any = self.network.get_submodule(name)
            lengths = _lengths(layer)
            scale = layer.gamma.view_as(lengths) if self.scale == "learned" else self.scale
            weights[f"{name}.weight"] = layer.weight * (scale / lengths)
        return weights


def _lengths(layer: nn.Module) -> Tensor:
    """|w| of each row, with the weight's number of dimensions: [out, 1, 1, 1], for a transposed convolution [1, out, 1, 1]."""
    weight = layer.get_parameter("weight")
    row = 1 if isinstance(layer, TRANSPOSED) else 0
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=[d for d in range(weight.dim()) if d != row], keepdim=True)
    return lengths
