"""Where the time of a step goes on a GPU: the paper's CIFAR-10 ResNet game with everything that makes it faster, its kernels by kind, and the
convolutions with resampling.

    python scripts/gpu_step.py out.json
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from record_head import head
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from sngan import compose
from sngan.benchmark.measures import seconds
from sngan.benchmark.variants import Contender, ladder
from sngan.data.images import game_spec
from sngan.precision import precision
from sngan.registry import build

KINDS = {
    "convolutions, forward": "fprop|implicit_convolve|Kernel.*conv|cutlass",
    "convolutions, gradient of the input": "dgrad",
    "convolutions, gradient of the weight": "wgrad",
    "compiled, elementwise and sums": "triton",
    "matrix products": "gemv|gemm|nvjet|splitK",
    "Adam and other lists of tensors": "multi_tensor|foreach",
}
"""Patterns of kernels' names; the first that matches counts."""

STEPS = 3
N, C = 320, 256
"""Images and channels of the largest convolutions: the fakes of a step's five discriminator updates."""


def kernels(step: Callable[[], object]) -> list[dict[str, Any]]:
    """Milliseconds and launches of a step, by kind of kernel, the longest first."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiled:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    ms: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for event in profiled.key_averages():
        if event.self_device_time_total > 0:
            kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, event.key)), "other")
            ms[kind] += event.self_device_time_total / 1e3 / STEPS
            launches[kind] += event.count / STEPS
    return [{"kind": kind, "ms": time, "launches": launches[kind]} for kind, time in ms.most_common()]


def convolutions(kind: str, device: torch.device) -> list[dict[str, Any]]:
    """Milliseconds of a 3x3 convolution, and of those with resampling beside it, as one operation and as two; forward, and with gradients."""
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32

    def tensor(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()

    three, four = tensor(C, C, 3, 3), tensor(C, C, 4, 4)
    tasks: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]] = {
        "3x3 at 32 px": (lambda x, w: F.conv2d(x, w, padding=1), tensor(N, C, 32, 32), three),
        "upsampling to 32 px, fused": (lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), tensor(N, C, 16, 16), four),
        "upsampling to 32 px, then 3x3": (
            lambda x, w: F.conv2d(F.interpolate(x, scale_factor=2), w, padding=1),
            tensor(N, C, 16, 16),
            three,
        ),
        "pooling from 32 px, fused": (lambda x, w: F.conv2d(x, w, stride=2, padding=1), tensor(N, C, 32, 32), four),
        "3x3, then pooling from 32 px": (lambda x, w: F.avg_pool2d(F.conv2d(x, w, padding=1), 2), tensor(N, C, 32, 32), three),
    }
    rows = []
    with precision("fp32" if kind == "bf16" else kind, device):  # type: ignore[arg-type]
        for name, (task, x, w) in tasks.items():
            g = torch.randn_like(task(x, w))

            def both(task: Any = task, x: Tensor = x, w: Tensor = w, g: Tensor = g) -> object:
                return torch.autograd.grad(task(x, w), (x, w), g)

            both()
            forward, with_gradients = (
                1e3 * min(seconds(each, device, times=30) for _ in range(2))
                for each in (lambda task=task, x=x, w=w: task(x, w), both)
            )
            rows.append({"precision": kind, "convolution": name, "forward_ms": forward, "both_ms": with_gradients})
    return rows


def main() -> None:
    device = torch.device("cuda")
    config = compose(["experiment=cifar10_resnet", "data=shapes", "data.n_train=600", "data.n_test=20", "device=cuda"])
    source = build("data", config.data)
    variant = ladder(device)[-1]
    contender = Contender(variant, config, game_spec(source.spec, conditional=False), source.load("train"), device)
    for _ in range(6):
        contender.step()
    record = head("gpu_step.py", "a step of experiment=cifar10_resnet, batch 64, G batch 128, 5 discriminator updates", "cuda") | {
        "engine": variant.engine,
        "precision": variant.precision,
        "step_ms": 1e3 * min(seconds(contender.step, device, times=20) for _ in range(3)),
        "kernels": kernels(contender.step),
        "convolutions": [row for kind in ("bf16", "tf32", "fp32") for row in convolutions(kind, device)],
    }
    Path(sys.argv[1]).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
