"""The device that a run asks for."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import torch

from sngan.errors import UserError


def resolve(device: Literal["auto", "cpu", "cuda", "mps"]) -> torch.device:
    """`auto` is CUDA, then MPS, then the CPU; under torchrun each local rank has a GPU of its own. `UserError` for one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(name for name, there in available.items() if there) if device == "auto" else device
    if not available[kind]:
        there = ", ".join(name for name, yes in available.items() if yes)
        raise UserError(f"device={device}: this machine or this build of torch has none; available: {there}; use device=auto")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)


def describe(device: torch.device) -> str:
    """The device in words, for records: the card's name, or the processor's with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return f"{device.type}, {platform.processor() or platform.machine()}"
    return f"{_processor()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
