"""A graph of torch.export, which torch runs without sngan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sngan.export.formats.format import Format, Inputs
from sngan.export.module import ExportedModule


class TorchExport(Format):
    """A `.pt2` file, also for AOTInductor and ExecuTorch."""

    file = "model.pt2"
    runtime = "torch.export"
    usage = """
import torch

G = torch.export.load("model.pt2").module()
images = G(torch.randn(16, {z_dim}){y_torch})
"""

    def write(self, module: ExportedModule, inputs: Inputs, path: Path, known: dict[str, Any]) -> None:
        n = torch.export.Dim("N", max=2**20)
        torch.export.save(torch.export.export(module, inputs, dynamic_shapes=({0: n}, *({0: n} for _ in inputs[1:]))), path)

    def load(self, path: Path) -> Callable[[Inputs], Tensor]:
        G = torch.export.load(path).module()
        return lambda inputs: G(*inputs)
