"""The weights alone, which sngan and the Hub read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from sngan.export.formats.format import Format, Inputs
from sngan.export.module import ExportedModule
from sngan.runs import exported


class Weights(Format):
    """`model.safetensors` and the `config.json` beside it, as `sngan.load_generator` reads them."""

    file = exported.WEIGHTS
    runtime = "sngan.load_generator"
    usage = """
import sngan

G = sngan.load_generator(".")  # this folder, or hf://user/name
images = G.sample(16, seed=0)  # uint8 [16, C, H, W]
"""
    takes_options = False

    def write(self, module: ExportedModule, inputs: Inputs, path: Path, known: dict[str, Any]) -> None:
        exported.save(module.G, known, path.parent)

    def load(self, path: Path) -> Callable[[Inputs], Tensor]:
        G, _ = exported.load(path.parent)
        return lambda inputs: G(*inputs)
