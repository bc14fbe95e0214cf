"""ONNX, which onnxruntime runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sngan.errors import UserError
from sngan.export.formats.format import Format, Inputs
from sngan.export.module import ExportedModule


class Onnx(Format):
    """Opset as torch's exporter chooses it; weights are inside the file."""

    file = "model.onnx"
    runtime = "onnxruntime"
    usage = """
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
z = np.random.default_rng(0).standard_normal((16, {z_dim}), dtype=np.float32)
(images,) = session.run(None, {{"z": z{y_numpy}}})
"""

    def check(self) -> None:
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise UserError(f"format=onnx needs the extra export ({', '.join(missing)} not installed): pip install 'sngan[export]'")

    def write(self, module: ExportedModule, inputs: Inputs, path: Path, known: dict[str, Any]) -> None:
        names = ["z", "y"][: len(inputs)]
        any_number = {name: {0: torch.export.Dim("N", max=2**20)} for name in names}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporter about itself
            program: Any = torch.onnx.export(
                module, inputs, dynamo=True, input_names=names, output_names=["images"], dynamic_shapes=any_number, verbose=False
            )
        program.save(path, external_data=False)

    def load(self, path: Path) -> Callable[[Inputs], Tensor]:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        return lambda inputs: torch.from_numpy(
            session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})[0]
        )
