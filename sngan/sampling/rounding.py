"""How images of a generator become images of 256 levels, in every score and every saved picture."""

from __future__ import annotations

import torch
from torch import Tensor

from sngan.config import Data, Protocol, Rounding

FORMULAS: dict[Rounding, str] = {
    "inverse": "floor((x + 1) * 128)",
    "nearest": "x * 127.5 + 127.5, to the nearest of 256 levels",
    "truncate": "floor(x * 127.5 + 127.5)",
}
"""The formulas, for records."""


def quantize(x: Tensor, rounding: Rounding) -> Tensor:
    """Images float in [-1, 1] as uint8 in 0..255; values outside become the first or the last level.

    `inverse` undoes the dequantisation of real images, x / 128 - 1 + U[0, 1/128), bit for bit. `nearest` undoes x / 127.5 - 1, also bit
    for bit; most codes use it. `truncate` is what the author code does to its samples (evaluation.py). If a generator has learned
    dequantised images, `nearest` changes about a fourth of its values by one level, `truncate` about half.
    """
    x = x.float()
    if rounding == "inverse":
        levels = x.mul(128).floor().add(128)  # floor first: both are exact then, where x + 1 would be rounded
    elif rounding == "nearest":
        levels = x.add(1).mul(127.5).round()
    else:
        levels = x.mul(127.5).add(127.5).floor()
    return levels.clamp(0, 255).to(torch.uint8)


def rounding_for(data: Data) -> Rounding:
    """The rounding that undoes the scaling of a run's real images, so that these come out unchanged."""
    return "inverse" if data.dequantize else "nearest"


def resolved(protocol: Protocol, data: Data) -> Protocol:
    """The protocol of a run that was trained on `data`, with `auto` replaced by the rounding that it stands for."""
    return protocol.model_copy(update={"rounding": rounding_for(data)}) if protocol.rounding == "auto" else protocol
