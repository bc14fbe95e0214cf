"""What is measured of a training step: its time, operations, kernels and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from sngan.layers.normalized import Normalized
from sngan.layers.weights import LAYERS
from sngan.precision import precision
from sngan.training.step import Inputs

SHORTEST_S = 0.3
"""About the shortest timing; each task is repeated as often as that needs."""

SLOW_S = 0.5
"""A large product that takes longer is timed once: bfloat16 on a CPU without instructions for it takes seconds."""


def seconds(task: Callable[[], object], device: torch.device, *, times: int = 1) -> float:
    """Wall-clock seconds per call over `times` calls in a row; waits for the device before and after."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        task()
    wait(device)
    return (time.perf_counter() - start) / times


def in_turn(
    tasks: Mapping[str, Callable[[], object]], device: torch.device, *, rounds: int, bar: tqdm[NoReturn]
) -> dict[str, list[float]]:
    """Seconds per call of each task, once a round; in a round each has its turn, so that what slows the machine slows all. All are warm."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    in_a_row = {name: max(1, round(SHORTEST_S / seconds(task, device))) for name, task in tasks.items()}
    for _ in range(rounds):
        for name, task in tasks.items():
            bar.set_description(f"timing {name}")
            times[name].append(seconds(task, device, times=in_a_row[name]))
            bar.update()
    return times


def wait(device: torch.device) -> None:
    """Waits until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def flops(step: Callable[[Inputs], object], inputs: Inputs) -> float:
    """Floating-point operations of a step in convolutions and matrix products, forward and backward.

    They are affine in the two batch sizes, so three steps of a few images determine them. Source of the counts: `torch.utils.flop_counter`.
    """

    def count(n: int, m: int) -> float:
        counter = FlopCounterMode(display=False)
        with counter:
            step(fewer(inputs, n, m))
        return float(counter.get_total_flops())

    n, m = inputs.z_D.shape[1], len(inputs.z_G)
    base = count(2, 2)
    return base + (n - 2) / 2 * (count(4, 2) - base) + (m - 2) / 2 * (count(2, 4) - base)


def fewer(inputs: Inputs, n: int, m: int) -> Inputs:
    """Inputs of the same kind with n images for each discriminator update and m latents for the generator update."""
    x_real, y_real, z_D, y_D, epsilon, z_G, y_G, *_ = inputs

    def of_D(t: Tensor | None) -> Any:
        return None if t is None else t[:, :1].expand(-1, n, *t.shape[2:]).contiguous()

    def of_G(t: Tensor | None) -> Any:
        return None if t is None else t[:1].expand(m, *t.shape[1:]).contiguous()

    return Inputs(of_D(x_real), of_D(y_real), of_D(z_D), of_D(y_D), of_D(epsilon), of_G(z_G), of_G(y_G))


class _CountOperations(TorchDispatchMode):
    """Counts the operations that compute something, that is, do not return a view."""

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += not (func.is_view or func in (torch.ops.aten.detach.default, torch.ops.aten._unsafe_view.default))
        return func(*args, **(kwargs or {}))


def kernel_calls(step: Callable[[], object], device: torch.device, *, compiled: bool) -> int | None:
    """The kernels of a step on a GPU, its operations on a CPU; None for compiled code on a CPU, where they cannot be counted."""
    if device.type == "cuda":
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiled:
            step()
            wait(device)
        on_device = [event.name for event in profiled.events() if event.device_type == DeviceType.CUDA]
        return sum(not name.startswith(("Memcpy", "Memset")) for name in on_device)
    if compiled:
        return None
    count = _CountOperations()  # type: ignore[no-untyped-call]
    with count:
        step()
    return count.n


def peak_memory(step: Callable[[], object], device: torch.device) -> float | None:
    """MB that a step needs beyond the networks and the images; None on a device that cannot measure it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        wait(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if device.type != "cpu":
        return None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        step()
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 1e6


def peak_flops(kind: str, device: torch.device) -> float:
    """The most floating-point operations per second that the device reaches in large matrix products and large 3x3 convolutions."""
    size, images = (8192, 1024) if device.type == "cuda" else (1024, 32)
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    x = torch.randn(images, 256, 16, 16, device=device).to(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3, device=device).to(memory_format=torch.channels_last)
    if kind == "bf16":
        a, b, x, w = a.bfloat16(), b.bfloat16(), x.bfloat16(), w.bfloat16()
    tasks: tuple[tuple[Callable[[], Tensor], float], ...]
    tasks = ((lambda: a @ b, 2.0 * size**3), (lambda: F.conv2d(x, w, padding=1), 2.0 * images * 256 * 256 * 16 * 16 * 9))
    best = 0.0
    with precision("fp32" if kind == "bf16" else kind, device), torch.no_grad():  # type: ignore[arg-type]
        for task, operations in tasks:
            is_slow = seconds(task, device) > SLOW_S  # the first call warms up
            repeats, times = (1, 1) if is_slow else (5, 2)
            best = max(best, operations / min(seconds(task, device, times=times) for _ in range(repeats)))
    return best


def norm_seconds(D: Normalized[nn.Module], device: torch.device, *, d_steps: int) -> float:
    """Seconds of spectral norm alone in a step: W / sigma of all layers and its gradient, as often as a step computes them."""
    layers = [module for module in D.network.modules() if isinstance(module, LAYERS)]

    def normalized(update: bool) -> list[Tensor]:
        return list(D.normalize(update=update).values()) or [layer.weight for layer in layers]

    parameters = [p for p in D.parameters() if p.dim() > 1]
    gradients = [torch.randn_like(weight) for weight in normalized(update=True)]

    def forward_and_backward() -> None:
        torch.autograd.grad(normalized(update=True), parameters, gradients)

    once = seconds(forward_and_backward, device, times=3)
    if D.vectors is None:  # torch's norm: in both forwards of a discriminator update, and in the generator update
        return (2 * d_steps + 1) * once
    with torch.no_grad():
        return d_steps * once + seconds(lambda: normalized(update=False), device, times=3)
