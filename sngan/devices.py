"""The device that a run asks for."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

import torch

from sngan.errors import UserError
from sngan.launch import launch


def resolve(device: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:N` or `mps` names; a GPU becomes the current one.

    `auto` is CUDA, then MPS, then the CPU; `cuda` is the first GPU, under torchrun that of the local rank. Raises `UserError` for a
    device that does not exist.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(name for name, there in available.items() if there) if device == "auto" else device.partition(":")[0]
    if not available[kind]:
        there = ", ".join(name for name, yes in available.items() if yes)
        raise UserError(f"device={device}: this machine or this build of torch has none; available: {there}; use device=auto")
    if kind != "cuda":
        return torch.device(kind)
    place = launch()
    number, n_gpus = int(device.partition(":")[2] or (place.local_rank if place else 0)), torch.cuda.device_count()
    if number >= n_gpus:
        raise UserError(f"device={device}: there are GPUs 0 to {n_gpus - 1}, and number {number} is asked for")
    if place and number != place.local_rank:
        raise UserError(f"device={device}: each of several ranks has a GPU of its own; use device=cuda")
    gpu = torch.device("cuda", number)
    torch.cuda.set_device(gpu)
    return gpu


def why_not_compile(device: torch.device) -> str | None:
    """Why torch cannot compile networks for this device; None if it can."""
    for switch in ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"):
        if os.environ.get(switch) == "1":
            return f"{switch}=1 keeps torch from compiling"
    match device.type:
        case "cuda":
            if not importlib.util.find_spec("triton"):
                return "compiling for a GPU needs the package triton"
            able = torch.cuda.get_device_capability(device) >= (7, 0)
            return None if able else "compiling needs a GPU of compute capability 7.0 or more"
        case "cpu":
            compiler = os.environ.get("CXX", "clang++" if shutil.which("clang++") and not shutil.which("g++") else "g++")
            return None if shutil.which(compiler) else f"compiling needs a C++ compiler, and there is no {compiler}"
    return f"compiling is for CPUs and NVIDIA GPUs, and the device is {device.type}"


def describe(device: torch.device) -> str:
    """The device in words, for records: the GPU's name, or the processor's with its number of threads."""
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
