"""Which parameters of a network are weights that can be normalised, and as which matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sngan.errors import UserError
from sngan.layers.linear_maps import output_dimension

LAYERS = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear | nn.Embedding
"""The layers with one weight matrix: convolutions, transposed convolutions, linear layers, embeddings."""


class Found(NamedTuple):
    """A parameter that is a weight, and into how many equal parts of its first dimension it is split, each with a sigma of its own."""

    layer: Any
    attribute: str
    blocks: int


def weights(network: nn.Module) -> dict[str, Found]:
    """The weights of all layers of known kinds, by name: the layer's name, or the parameter's own where a layer has several.

    Attention's `in_proj_weight` [3 E, E] is three matrices, Q, K and V. The weights of recurrent layers [gates * hidden, in] are one matrix
    each, and so is the weight of a bilinear layer [out, in_1 * in_2].
    """
    found = {}
    for name, layer in network.named_modules():
        for attribute, blocks in _attributes(layer):
            found[name if attribute == "weight" else f"{name}.{attribute}".lstrip(".")] = Found(layer, attribute, blocks)
    return found


def parameter_name(name: str, weight: Found) -> str:
    """The name of a weight's parameter in its network."""
    return f"{name}.weight".lstrip(".") if weight.attribute == "weight" else name


def beside(attribute: str, name: str) -> str:
    """What a norm adds to a layer under this name: `u` for its `weight`, `in_proj_weight_u` for another parameter."""
    return name if attribute == "weight" else f"{attribute}_{name}"


def without(found: Mapping[str, Found], exclude: Sequence[str], *, also: Iterable[str] = ()) -> dict[str, Found]:
    """The weights that match none of the patterns; raises `UserError` for a pattern that matches neither a weight nor a name in `also`."""
    for pattern in exclude:
        if not any(fnmatch(name, pattern) for name in (*found, *also)):
            raise UserError(f"exclude={pattern}: no layer has this name; the layers are {', '.join(found)}")
    return {name: weight for name, weight in found.items() if not any(fnmatch(name, pattern) for pattern in exclude)}


def default_blocks(layer: nn.Module, attribute: str) -> int:
    """3 for the joint weight of Q, K and V, else 1."""
    return 3 if isinstance(layer, nn.MultiheadAttention) and attribute == "in_proj_weight" else 1


def _attributes(layer: nn.Module) -> Iterator[tuple[str, int]]:
    """The names of a layer's weights, each with its number of blocks."""
    names: list[str] = []
    if isinstance(layer, LAYERS | nn.EmbeddingBag | nn.Bilinear):
        names = ["weight"]
    elif isinstance(layer, nn.MultiheadAttention):
        names = ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"]
    elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        names = [name for name, _ in layer.named_parameters(recurse=False) if name.startswith("weight")]
    for name in names:
        if getattr(layer, name, None) is not None:
            yield name, default_blocks(layer, name)


def refuse_unusable(name: str, weight: Tensor) -> None:
    """Raises `UserError` for a weight that has no norm to divide by: it is zero or not finite, or not there yet."""
    if isinstance(weight, nn.parameter.UninitializedParameter):
        raise UserError(f"{name} has no shape yet (a lazy layer); run the network once before its weights are normalised")
    values = weight.detach()
    if not values.is_meta and not (torch.isfinite(values).all() and values.any()):
        raise UserError(f"{name} is zero or not finite, so it cannot be normalised; initialise it first")


def dimension(layer: nn.Module, attribute: str) -> int:
    """The dimension of a layer's parameter that counts outputs."""
    return output_dimension(layer) if attribute == "weight" else 0
