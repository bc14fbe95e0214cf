"""From the names and layouts of another project's state dict to ours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sngan.errors import UserError
from sngan.layers.batch_norm import BN_EPS
from sngan.layers.linear_maps import Matrices

Role = Literal["generator", "discriminator"]
State = Mapping[str, Tensor]
Names = Sequence[tuple[str, str]]
"""Patterns of their modules' names, and ours."""

PER_OUTPUT = Matrices(channels_last=True)
"""How a layer's weight is a matrix where it has u and v (`spectral_norm.follow_sigma`)."""


@dataclass(frozen=True)
class Translated:
    """A network of another project: tensors by our names, and the config keys that build the network."""

    role: Role
    tensors: dict[str, Tensor]
    theirs: dict[str, str]
    """Their names by ours."""
    options: dict[str, Any]
    """Keys of `generator` or `discriminator`, its name among them."""
    resolution: int | None
    channels: int
    n_classes: int


def renamed(state: State, names: Names, *, rival: str) -> dict[str, str]:
    """Their full names by ours; `UserError` for the first that is in none of the patterns."""
    found: dict[str, str] = {}
    for theirs in state:
        for pattern, ours in names:
            match = re.fullmatch(rf"{pattern}\.([a-z_]+)", theirs)
            if match:
                found[f"{match.expand(ours)}.{match.groups()[-1]}"] = theirs
                break
        else:
            raise UserError(
                f"{theirs} is a tensor that sngan's networks have no place for; {rival} networks that can be read are in README.md"
            )
    return _renumbered(found)


def _renumbered(found: dict[str, str]) -> dict[str, str]:
    """`blocks.N` counted from 0 without gaps."""
    numbers = sorted({int(match[1]) for name in found if (match := re.match(r"blocks\.(\d+)\.", name))})
    return {
        re.sub(r"^blocks\.(\d+)\.", lambda match: f"blocks.{numbers.index(int(match[1]))}.", name): theirs
        for name, theirs in found.items()
    }


def plain(state: State, found: Mapping[str, str], *, bn_eps: float) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by our names, and their names by ours: weights, u and v of spectral norm in our order, and batch-norm statistics.

    A running variance takes up the difference between their epsilon and ours, so that evaluation mode computes the same.
    """
    tensors: dict[str, Tensor] = {}
    theirs: dict[str, str] = {}

    def put(name: str, tensor: Tensor, source: str) -> None:
        tensors[name] = tensor.contiguous()
        theirs[name] = source

    for name, source in found.items():
        module, _, attribute = name.rpartition(".")
        tensor = state[source]
        if attribute == "sn_sigma":
            continue
        if attribute == "sn_u":  # v is what one more power iteration gives, which their evaluation mode runs, too
            W = PER_OUTPUT.matrix(_of(state, found, f"{module}.weight"))
            if tensor.numel() != len(W):
                raise UserError(f"{source} has {tensor.numel()} numbers, and its weight {len(W)} outputs")
            v = F.normalize(W.mT @ tensor.flatten().to(W), dim=0, eps=1e-12)
            put(f"{module}.u", F.normalize(W @ v, dim=0, eps=1e-12), source)
            put(f"{module}.v", v, source)
        elif attribute == "weight_v":
            W = _of(state, found, f"{module}.weight_orig")
            if tensor.numel() != W[0].numel():
                raise UserError(f"{source} has {tensor.numel()} numbers, and its weight {W[0].numel()} inputs")
            put(f"{module}.v", PER_OUTPUT.matrix(tensor.view(1, *W.shape[1:]))[0], source)
        elif attribute == "running_var":
            put(name, tensor + (bn_eps - BN_EPS), source)
        else:
            put(
                f"{module}.{ {'weight_orig': 'weight', 'weight_u': 'u'}.get(attribute, attribute) }".replace(" ", ""),
                tensor,
                source,
            )
    return tensors, theirs


def _of(state: State, found: Mapping[str, str], name: str) -> Tensor:
    if name not in found:
        raise UserError(f"{name} is missing: the file has its singular vector but no weight")
    return state[found[name]]


def shape(tensors: State, name: str, dims: int) -> torch.Size:
    """The shape of a tensor that must be there, with this many dimensions."""
    if name not in tensors:
        raise UserError(f"nothing in it is {name}, which sngan's network has")
    if tensors[name].dim() != dims or not tensors[name].numel():
        raise UserError(f"{name} has shape {list(tensors[name].shape)}, where {dims} dimensions are expected")
    return tensors[name].shape


def blocks(tensors: State) -> int:
    """The number of residual blocks."""
    return len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})


def first_side(rows: int, channels: int) -> int:
    """The side of the square first map that a linear layer with these outputs makes."""
    side = math.isqrt(rows // channels)
    if side * side * channels != rows:
        raise UserError(f"linear.weight has {rows} outputs, which make no square map of {channels} channels")
    return side


def normalization(tensors: State) -> str:
    """Whether the network's weights are spectrally normalised."""
    return "spectral" if any(name.endswith(".u") for name in tensors) else "none"


def resnet_generator(tensors: dict[str, Tensor], theirs: dict[str, str], **options: Any) -> Translated:
    """The options of our ResNet generator, or with `name=biggan` of BigGAN's, that these tensors fit."""
    n = blocks(tensors)
    rows, z_dim = shape(tensors, "linear.weight", 2)
    widths = [shape(tensors, "blocks.0.conv1.weight", 4)[1]]
    widths += [shape(tensors, f"blocks.{i}.conv1.weight", 4)[0] for i in range(n)]
    side = first_side(rows, widths[0])
    gamma = tensors.get("shared" if options["name"] == "biggan" else "blocks.0.norm1.gamma")
    return Translated(
        role="generator",
        tensors=tensors,
        theirs=theirs,
        options={"z_dim": z_dim, "widths": widths, "normalization": normalization(tensors), **options},
        resolution=side * 2**n,
        channels=shape(tensors, "conv.weight", 4)[0],
        n_classes=0 if gamma is None else len(gamma),
    )


def resnet_discriminator(
    tensors: dict[str, Tensor], theirs: dict[str, str], downsample: Sequence[bool], resolution: int, **options: Any
) -> Translated:
    """The options of our ResNet discriminator that these tensors fit."""
    n = blocks(tensors)
    if len(downsample) != n:
        raise UserError(f"it has {n} blocks, and a discriminator for {resolution} px has {len(downsample)}")
    return Translated(
        role="discriminator",
        tensors=tensors,
        theirs=theirs,
        options={
            "name": "resnet",
            "widths": [shape(tensors, f"blocks.{i}.conv2.weight", 4)[0] for i in range(n)],
            "downsample": list(downsample),
            "head_bias": "linear.bias" in tensors,
            "normalization": normalization(tensors),
            **options,
        },
        resolution=resolution,
        channels=shape(tensors, "blocks.0.conv1.weight", 4)[1],
        n_classes=len(tensors["embedding.weight"]) if "embedding.weight" in tensors else 0,
    )


def cnn_generator(tensors: dict[str, Tensor], theirs: dict[str, str]) -> Translated:
    """The options of our CNN generator, with batch norm per channel after the linear layer, that these tensors fit."""
    rows, z_dim = shape(tensors, "linear.weight", 2)
    n = len([name for name in tensors if re.fullmatch(r"deconvs\.\d+\.weight", name) and tensors[name].dim() == 4])
    widths = [shape(tensors, "deconvs.0.weight", 4)[0]] + [shape(tensors, f"deconvs.{3 * i}.weight", 4)[1] for i in range(n)]
    return Translated(
        role="generator",
        tensors=tensors,
        theirs=theirs,
        options={"name": "cnn", "z_dim": z_dim, "widths": widths, "first_norm": "channel", "normalization": normalization(tensors)},
        resolution=first_side(rows, widths[0]) * 2**n,
        channels=shape(tensors, "conv.weight", 4)[0],
        n_classes=0,
    )


def cnn_place(i: int) -> str:
    """The name of our CNN discriminator's convolution i; a leaky ReLU follows the first, a norm and a leaky ReLU each other."""
    return f"convs.{3 * i - 1 if i else 0}"


def cnn_discriminator(tensors: dict[str, Tensor], theirs: dict[str, str], *, slope: float) -> Translated:
    """The options of our CNN discriminator that these tensors fit."""
    n = len([name for name in tensors if re.fullmatch(r"convs\.\d+\.weight", name)])
    widths = [shape(tensors, f"{cnn_place(i)}.weight", 4)[0] for i in range(n)]
    side = first_side(shape(tensors, "linear.weight", 2)[1], widths[-1])
    return Translated(
        role="discriminator",
        tensors=tensors,
        theirs=theirs,
        options={"name": "cnn", "widths": widths, "slope": slope, "normalization": normalization(tensors)},
        resolution=side * 2 ** (n // 2),
        channels=shape(tensors, "convs.0.weight", 4)[1],
        n_classes=0,
    )
