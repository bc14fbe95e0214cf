"""The arithmetic of a run, as a context around the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from sngan.errors import UserError

Kind = Literal["auto", "fp32", "tf32", "bf16"]


def check_precision(kind: Kind, device: torch.device) -> None:
    """Raises `UserError` for arithmetic that the device does not have."""
    if kind == "tf32" and device.type != "cuda":
        raise UserError(f"precision=tf32 needs an NVIDIA GPU, and the device is {device.type}; use precision=fp32 or bf16")


@contextmanager
def precision(kind: Kind, device: torch.device) -> Iterator[None]:
    """float32 without TF32, float32 with TF32 in convolutions, or bfloat16 autocast; the process's switches are put back at the end.

    Master weights, Adam, spectral norm (whose matrix products never see TF32), D's logits and losses are float32 in all three. cuDNN
    uses deterministic algorithms, chosen by rule and not by timing, so that a resumed run equals the uninterrupted one.
    """
    assert kind != "auto", "a run settles it before"
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, kind != "fp32", True, False
    try:
        # no cache: it would keep the bfloat16 copy of a weight after the optimiser has changed the weight
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=kind == "bf16", cache_enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
