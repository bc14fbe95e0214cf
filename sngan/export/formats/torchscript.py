"""TorchScript, which torch and libtorch run without sngan."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sngan.export.formats.format import Format, Inputs
from sngan.export.module import ExportedModule


class TorchScript(Format):
    """A trace, for programs in C++; torch no longer develops the format."""

    file = "model.pt"
    runtime = "torch.jit"
    usage = """
import torch

G = torch.jit.load("model.pt")
images = G(torch.randn(16, {z_dim}){y_torch})
"""

    def write(self, module: ExportedModule, inputs: Inputs, path: Path, known: dict[str, Any]) -> None:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that it is deprecated, and that sizes of images are constants
            traced: Any = torch.jit.trace(module, inputs, check_trace=False)
            torch.jit.save(torch.jit.freeze(traced), str(path))

    def load(self, path: Path) -> Callable[[Inputs], Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            G: Any = torch.jit.load(str(path), map_location="cpu")
        return lambda inputs: G(*inputs)
