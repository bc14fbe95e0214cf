"""torch-fidelity's example (A. Obukhov et al.): names and layouts of examples/sngan_cifar10.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sngan.errors import UserError
from sngan.imports.rivals.rival import Rival, state_of
from sngan.imports.translation import Translated, cnn_discriminator, cnn_generator, cnn_place, plain, renamed

BN_EPS = 1e-5

GENERATOR = [
    (r"model\.0", "linear"),
    (r"model\.1", "first.0"),
    *((rf"model\.{3 * i + 3}", f"deconvs.{3 * i}") for i in range(3)),
    *((rf"model\.{3 * i + 4}", f"deconvs.{3 * i + 1}") for i in range(3)),
    (r"model\.12", "conv"),
]
DISCRIMINATOR = [(r"fc", "linear"), *((rf"conv{i + 1}", cnn_place(i)) for i in range(7))]


class TorchFidelity(Rival):
    """The example's networks: `generator.pth`, a TorchScript file of which the weights alone are read, or state dicts."""

    url = "https://github.com/toshas/torch-fidelity"
    experiment = "cifar10_cnn"

    def networks(self, content: Mapping[str, Any], resolution: int | None) -> list[Translated]:
        state = state_of(content, "state_dict")
        if "conv1.weight" in state or "conv1.weight_orig" in state:
            return [cnn_discriminator(*plain(state, renamed(state, DISCRIMINATOR, rival="these"), bn_eps=BN_EPS), slope=0.1)]
        tensors, theirs = plain(state, renamed(state, GENERATOR, rival="these"), bn_eps=BN_EPS)
        for name in ("linear.weight", "linear.bias", "conv.weight"):
            if name not in tensors:
                raise UserError(f"nothing in it is {name}, which the network has")
        tensors["linear.weight"], tensors["linear.bias"] = _as_linear(tensors["linear.weight"], tensors["linear.bias"])
        tensors["conv.weight"] = tensors["conv.weight"].transpose(0, 1).flip(2, 3).contiguous()
        return [cnn_generator(tensors, theirs)]


def _as_linear(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A transposed convolution [Z, C, M, M] of maps of one pixel as a linear layer: [C M M, Z] and [C M M]."""
    if weight.dim() != 4:
        raise UserError(f"model.0.weight has shape {list(weight.shape)}, where a transposed convolution is expected")
    return weight.flatten(1).T.contiguous(), bias.repeat_interleave(weight[0, 0].numel())
