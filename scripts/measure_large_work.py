"""One measurement of `large_work.py`, in a process that does nothing else.

    python -c 'import measure_large_work; measure_large_work.main()' WHAT SIZE FOLDER DEVICE

It is imported rather than started as a script, because the main module of a run is imported, and held, by each of its workers.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import trange

import sngan
from sngan import devices
from sngan.data.batches import Batches
from sngan.data.images import Source, TensorImages
from sngan.networks import build_networks
from sngan.optimizer import trained
from sngan.precision import precision
from sngan.state import initial_state
from sngan.training.engine import build as build_engine
from sngan.training.inputs import InputStream
from sngan.training.step import Game

BATCH = {"resolution": 8, "pictures": 64}
"""Real images per discriminator update, where another size is measured; latents for G are twice as many."""
STEPS_S = 60
"""Further steps are timed until so many seconds are over or there are enough."""


def main() -> None:
    """Prints the numbers of one measurement, which the arguments of this process name."""
    what, number, folder, name = sys.argv[1:]
    size, device = int(number), devices.resolve(name)  # type: ignore[arg-type]
    match what:
        case "batch":
            found = step(batch=size, resolution=32, device=device)
        case "resolution":
            found = step(batch=BATCH["resolution"], resolution=size, device=device)
        case _:
            found = pictures(Path(folder), device)
    print(json.dumps(found))


def step(*, batch: int, resolution: int, device: torch.device) -> dict[str, Any]:
    """Training steps of the ResNets on random images, in float32 and eager mode."""
    setting = {
        "experiment": "cifar10_resnet",
        "batch": batch,
        "g_batch": 2 * batch,
        "d_steps": 1,
        "precision": "fp32",
        "engine": "eager",
    }
    config = sngan.compose(["data=shapes", "protocol=none", *(f"{key}={value}" for key, value in setting.items())])
    spec = sngan.ImageSpec(resolution=resolution, channels=3, n_classes=0)
    state = initial_state(config, *build_networks(config, spec), device)
    game = Game(sngan.build("loss", config.loss), None, None, config.ema.decay)
    train = build_engine(config.engine, state, game)
    images = TensorImages(torch.randint(256, (batch, 3, resolution, resolution), dtype=torch.uint8))
    batches = Batches(images, spec, batch=batch, d_steps=1, seed=0, data=config.data, device=device)
    inputs = InputStream(config, state.G.network, batches, device)
    start_mb = memory_mb("VmRSS") if device.type == "cpu" else torch.cuda.memory_allocated(device) / 2**20

    def one(number: int) -> tuple[float, float]:
        start, worked = time.perf_counter(), time.process_time()
        with precision(config.precision, device):
            train(inputs(number))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start, time.process_time() - worked

    operations = FlopCounterMode(display=False)
    with kept_for_backward(state.G, state.D) as kept, operations:
        one(0)  # also the warm-up
    times = [one(1)]
    peak_mb = memory_mb("VmHWM") if device.type == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20
    while len(times) < 5 and sum(seconds for seconds, _ in times) < STEPS_S:
        times.append(one(len(times) + 1))
    sizes = [sum(p.nbytes for p in trained(network)) for network in (state.G, state.D)]
    return {
        "setting": {**setting, "resolution": resolution},
        "n": len(times),
        "seconds": round(statistics.median(seconds for seconds, _ in times), 4),
        "cores": round(sum(worked for _, worked in times) / sum(seconds for seconds, _ in times), 2),
        "start_mb": round(start_mb),
        "peak_mb": round(peak_mb),
        "kept_mb": round(kept["most"] / 2**20),
        "gradients_and_moments_mb": round((max(sizes) + 2 * sum(sizes)) / 2**20),
        "gflop": round(operations.get_total_flops() / 1e9, 1),
    }


@contextmanager
def kept_for_backward(*networks: nn.Module) -> Iterator[dict[str, int]]:
    """Counts the bytes that forward keeps for backward, without the networks' parameters: `now`, and the `most` that were held at once."""
    count = {"now": 0, "most": 0}
    holders: Counter[int] = Counter()
    parameters = {p.untyped_storage().data_ptr() for network in networks for p in trained(network)}

    class Kept:
        def __init__(self, tensor: Tensor):
            self.tensor = tensor

    def release(address: int, n_bytes: int) -> None:
        holders[address] -= 1
        count["now"] -= 0 if holders[address] else n_bytes

    def keep(tensor: Tensor) -> Kept:
        kept, storage = Kept(tensor), tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            count["now"] += 0 if holders[storage.data_ptr()] else storage.nbytes()
            count["most"] = max(count["most"], count["now"])
            holders[storage.data_ptr()] += 1
            weakref.finalize(kept, release, storage.data_ptr(), storage.nbytes())
        return kept

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor):
        yield count


def pictures(folder: Path, device: torch.device) -> dict[str, Any]:
    """Opening the folder, and the images of further steps when nothing else is done."""
    setting = {"experiment": "cifar10_resnet", "batch": BATCH["pictures"], "d_steps": 5, "data.resident_mb": 0, "data.workers": 2}
    overrides = ["data=image_folder", f"data.path={folder}", "protocol=none", *(f"{key}={value}" for key, value in setting.items())]
    config = sngan.compose(overrides)
    start_mb = memory_mb("VmRSS")

    start = time.perf_counter()
    source: Source = sngan.build("data", config.data)
    listed = time.perf_counter()
    images = source.load("train")
    checked = time.perf_counter()
    with Batches(
        images, source.spec, batch=config.batch, d_steps=config.d_steps, seed=0, data=config.data, device=device
    ) as batches:
        batches(0)
        ready = time.perf_counter()
        times = []
        for number in trange(1, 51, desc="steps of data", leave=False, disable=None):
            begin = time.perf_counter()
            batches(number)
            times.append(time.perf_counter() - begin)
        workers_mb = [memory_mb("VmHWM", worker.pid) for worker in multiprocessing.active_children()]
    seconds = statistics.median(times)
    return {
        "setting": {**setting, "resolution": source.spec.resolution},
        "pixels_mb": round(len(images) * 3 * source.spec.resolution**2 / 2**20, 1),
        "list_seconds": round(listed - start, 3),
        "check_seconds": round(checked - listed, 3),
        "first_step_seconds": round(ready - checked, 3),
        "n": len(times),
        "seconds": round(seconds, 4),
        "images_per_s": round(config.d_steps * config.batch * len(times) / sum(times)),
        "start_mb": round(start_mb),
        "peak_mb": round(memory_mb("VmHWM")),
        "worker_peak_mb": round(max(workers_mb)),
    }


def memory_mb(field: str, process: int | str | None = "self") -> float:
    """What a process holds now (VmRSS) or held at most (VmHWM). Of the process alone, where ru_maxrss begins with its parent's."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
