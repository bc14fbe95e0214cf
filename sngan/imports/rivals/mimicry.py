"""mimicry (K. S. Lee, C. Town 2020): names and layouts of torch_mimicry/nets and torch_mimicry/modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sngan.errors import UserError
from sngan.imports.rivals.rival import Rival, state_of
from sngan.imports.translation import (
    Translated,
    blocks,
    normalization,
    plain,
    renamed,
    resnet_discriminator,
    resnet_generator,
)

BN_EPS = 1e-5

BLOCK = [
    (r"block(\d+)\.c1", r"blocks.\1.conv1"),
    (r"block(\d+)\.c2", r"blocks.\1.conv2"),
    (r"block(\d+)\.c_sc", r"blocks.\1.shortcut"),
]
GENERATOR = [
    *BLOCK,
    (r"block(\d+)\.b([12])", r"blocks.\1.norm\2"),
    (r"block(\d+)\.b([12])\.bn", r"blocks.\1.norm\2.normalize"),
    (r"block(\d+)\.b([12])\.embed", r"blocks.\1.norm\2.embed"),
    (r"l1", "linear"),
    (r"b\d", "norm"),
    (r"c\d", "conv"),
]
DISCRIMINATOR = [*BLOCK, (r"l\d", "linear"), (r"l_y", "embedding")]

DOWNSAMPLE = {
    32: (True, True, False, False),
    48: (True, True, True, True, False),
    64: (True, True, True, True, True),
    128: (True, True, True, True, True, False),
}
"""Which blocks of a discriminator halve the side."""


class Mimicry(Rival):
    """The generators of its unconditional GANs (all are one network) and of cGAN-PD, the discriminators of SNGAN and cGAN-PD."""

    url = "https://github.com/kwotsin/mimicry"
    experiment = "cifar10_resnet"

    def networks(self, content: Mapping[str, Any], resolution: int | None) -> list[Translated]:
        state = state_of(content, "model_state_dict")
        if "l1.weight" in state:
            tensors, theirs = plain(state, renamed(state, GENERATOR, rival="mimicry"), bn_eps=BN_EPS)
            for name in [name for name in tensors if name.endswith(".embed.weight")]:
                norm, source = name.removesuffix(".embed.weight"), theirs.pop(name)
                gamma, beta = tensors.pop(name).chunk(2, dim=1)
                tensors |= {f"{norm}.gamma": gamma.contiguous(), f"{norm}.beta": beta.contiguous()}
                theirs |= {f"{norm}.gamma": source, f"{norm}.beta": source}
            return [resnet_generator(tensors, theirs, name="resnet", upsampling="bilinear")]
        tensors, theirs = plain(state, renamed(state, DISCRIMINATOR, rival="mimicry"), bn_eps=BN_EPS)
        if normalization(tensors) == "none":
            raise UserError(
                "it has no spectral norm: mimicry's discriminators of WGAN-GP and DCGAN, one of which takes a mean, look alike"
            )
        return [_discriminator(tensors, theirs, resolution)]


def _discriminator(tensors: dict[str, Tensor], theirs: dict[str, str], resolution: int | None) -> Translated:
    n = blocks(tensors)
    sizes = [size for size, downsample in DOWNSAMPLE.items() if len(downsample) == n]
    if resolution is None and len(sizes) == 1:
        resolution = sizes[0]
    if resolution is None and sizes:
        raise UserError(
            f"a discriminator of {n} blocks is for {' or '.join(map(str, sizes))} px; give resolution={sizes[0]}, or its generator as well"
        )
    if resolution not in DOWNSAMPLE:
        raise UserError(
            f"mimicry has no discriminator of {n} blocks for {resolution} px; its sizes are {', '.join(map(str, DOWNSAMPLE))}"
        )
    return resnet_discriminator(tensors, theirs, DOWNSAMPLE[resolution], resolution, hidden="input", shortcut="relu")
