"""What tests/cli/test_evaluate.py starts with torchrun: `sngan evaluate`, and then a JSON line of how many images this rank looked at."""

from __future__ import annotations

import json
import os
import sys

import torch
from torch import nn

from sngan.__main__ import main
from sngan.evaluation.extractors.small_resnet import SmallResNet

if __name__ == "__main__":
    torch.set_num_threads(1)
    seen: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, SmallResNet):
            seen.append(len(inputs[0]))

    nn.modules.module.register_module_forward_pre_hook(note)
    code = main(["evaluate", *sys.argv[1:]])
    sys.stdout.write(json.dumps({"rank": int(os.environ["RANK"]), "images": sum(seen)}) + "\n")
    sys.stdout.flush()
    sys.exit(code)
