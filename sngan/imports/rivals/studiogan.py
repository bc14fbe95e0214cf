"""PyTorch-StudioGAN (M. Kang et al. 2022): names and layouts of src/models/resnet.py, src/models/big_resnet.py and src/utils/ops.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sngan.errors import UserError
from sngan.imports.rivals.rival import Rival, state_of
from sngan.imports.translation import (
    State,
    Translated,
    blocks,
    first_side,
    plain,
    renamed,
    resnet_discriminator,
    resnet_generator,
    shape,
)

BN_EPS = 1e-4

LAYERS = [
    (r"blocks\.(\d+)\.0\.conv2d0", r"blocks.\1.shortcut"),
    (r"blocks\.(\d+)\.0\.conv2d1", r"blocks.\1.conv1"),
    (r"blocks\.(\d+)\.0\.conv2d2", r"blocks.\1.conv2"),
    (r"blocks\.\d+\.0\.conv1x1_theta", "attention.query"),
    (r"blocks\.\d+\.0\.conv1x1_phi", "attention.key"),
    (r"blocks\.\d+\.0\.conv1x1_g", "attention.value"),
    (r"blocks\.\d+\.0\.conv1x1_attn", "attention.out"),
    (r"blocks\.\d+\.0", "attention"),  # sigma, the weight of the attention
]
GENERATOR = [
    *LAYERS,
    (r"blocks\.(\d+)\.0\.bn([12])", r"blocks.\1.norm\2"),
    (r"blocks\.(\d+)\.0\.bn([12])\.bn", r"blocks.\1.norm\2.normalize"),
    (r"blocks\.(\d+)\.0\.bn([12])\.gain", r"blocks.\1.norm\2.scale"),
    (r"blocks\.(\d+)\.0\.bn([12])\.bias", r"blocks.\1.norm\2.shift"),
    (r"linear0", "linear"),
    (r"shared", "shared"),
    (r"bn4", "norm"),
    (r"conv2d5", "conv"),
]
DISCRIMINATOR = [*LAYERS, (r"linear1", "linear"), (r"embedding", "embedding")]

DOWNSAMPLE = {
    4: (True, True, False, False),
    5: (True, True, True, True, False),
    6: (True, True, True, True, True, False),
    7: (True, True, True, True, True, True, False),
}
"""By the number of blocks: which of them halve the side; the last map has 4 px, at 32 px 8."""
RESOLUTIONS = {4: 32, 5: 64, 6: 128, 7: 256}


class StudioGAN(Rival):
    """The networks of its backbones resnet and big_resnet (SNGAN, SAGAN, BigGAN): without labels, or with cBN and PD."""

    url = "https://github.com/POSTECH-CVLab/PyTorch-StudioGAN"
    experiment = "cifar10_resnet"

    def networks(self, content: Mapping[str, Any], resolution: int | None) -> list[Translated]:
        state = state_of(content, "state_dict")
        after = _attention(state)
        is_generator = any(name.startswith("linear0.") for name in state)
        names = GENERATOR if is_generator else DISCRIMINATOR
        tensors, theirs = plain(state, renamed(state, names, rival="studiogan"), bn_eps=BN_EPS)
        if "attention.sigma" in tensors:
            tensors["attention.gamma"], theirs["attention.gamma"] = (
                tensors.pop("attention.sigma").reshape(()),
                theirs.pop("attention.sigma"),
            )
        return [_generator(tensors, theirs, after) if is_generator else _discriminator(tensors, theirs, after)]


def _attention(state: State) -> int | None:
    """The number of the block that self-attention follows, counted from 0; in a list of blocks it has a number of its own."""
    places = {int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.0\.conv1x1", name))}
    if len(places) > 1:
        raise UserError(f"self-attention is in {len(places)} places, and sngan's networks have it in one")
    return next(iter(places)) - 1 if places else None


def _generator(tensors: dict[str, Tensor], theirs: dict[str, str], after: int | None) -> Translated:
    rows, first = shape(tensors, "linear.weight", 2)
    side = first_side(rows, shape(tensors, "blocks.0.conv1.weight", 4)[1])
    attention = None if after is None else side * 2 ** (after + 1)
    scale = tensors.get("blocks.0.norm1.scale.weight")
    if "shared.weight" not in tensors and (scale is None or scale.shape[1] != first):
        _by_class(tensors, theirs)
        return resnet_generator(tensors, theirs, name="resnet", attention=attention)
    shared_dim = 128
    if "shared.weight" in tensors:
        tensors["shared"], theirs["shared"] = tensors.pop("shared.weight"), theirs.pop("shared.weight")
        shared_dim = tensors["shared"].shape[1]
    z_dim = first * (blocks(tensors) + 1)
    return resnet_generator(tensors, theirs, name="biggan", attention=attention, z_dim=z_dim, shared_dim=shared_dim)


def _by_class(tensors: dict[str, Tensor], theirs: dict[str, str]) -> None:
    """Replaces scales and shifts that are linear in a one-hot label by tables, in place: gamma = 1 + W^T and beta = W^T, both [K, C]."""
    for name in [name for name in tensors if re.search(r"\.(scale|shift)\.weight$", name)]:
        layer = name.removesuffix(".weight")
        W = tensors.pop(name)
        u, v = tensors.pop(f"{layer}.u", None), tensors.pop(f"{layer}.v", None)
        if u is not None and v is not None:
            W = W / (u @ (W @ v))
        norm, _, kind = layer.rpartition(".")
        ours = f"{norm}.{'gamma' if kind == 'scale' else 'beta'}"
        tensors[ours] = (W.T + (kind == "scale")).contiguous()
        theirs[ours] = theirs[name]


def _discriminator(tensors: dict[str, Tensor], theirs: dict[str, str], after: int | None) -> Translated:
    n = blocks(tensors)
    if n not in DOWNSAMPLE:
        raise UserError(f"it has {n} blocks; StudioGAN's discriminators that sngan reads have {', '.join(map(str, DOWNSAMPLE))}")
    downsample, resolution = DOWNSAMPLE[n], RESOLUTIONS[n]
    sides = [resolution // 2 ** sum(downsample[: i + 1]) for i in range(n)]
    attention = None if after is None else sides[after]
    if after is not None and sides[after] in sides[after + 1 :]:
        raise UserError(f"self-attention follows block {after + 1}, and in sngan the last block of its side")
    return resnet_discriminator(tensors, theirs, downsample, resolution, hidden="output", shortcut="relu", attention=attention)
