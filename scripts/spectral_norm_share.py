"""Which share of the time of one update of D is spectral norm, for the paper's CIFAR-10 discriminators at batch 64.

    python scripts/spectral_norm_share.py [--device cuda] [--out scripts/results/spectral_norm_share.json]

Each round times, one after the other, a whole update of D with spectral norm (fakes given, Adam included), the same without any norm, and
spectral norm alone: power iteration, W / sigma of all layers and the gradient through it. Medians of the rounds after warm-up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sngan import ImageSpec, build, compose
from sngan.provenance import versions
from sngan.regularizers.regularizer import Batch
from sngan.training.state import TrainState, build_networks, initial_state
from sngan.training.step import Game, update_discriminator

BATCH = 64


def measure(experiment: str, device: torch.device, rounds: int) -> dict[str, float]:
    """Medians in ms, and the share."""
    spectral = _state(experiment, "spectral", device)
    plain = _state(experiment, "none", device)
    game = Game(build("loss", compose([f"experiment={experiment}"]).loss), None, None, ema_decay=0.999)
    images = torch.rand(2, BATCH, 3, 32, 32, device=device).mul(2).sub(1)
    batch = Batch(images[0], None, images[1], torch.rand(BATCH, device=device))
    gradients = [torch.randn_like(weight) for weight in spectral.D.normalize(update=True).values()]

    def norm_alone() -> None:
        weights = spectral.D.normalize(update=True)
        torch.autograd.grad(list(weights.values()), [spectral.D.network.get_parameter(name) for name in weights], gradients)

    tasks: dict[str, Callable[[], object]] = {
        "update": lambda: update_discriminator(spectral, game, batch, None),
        "update_without_norm": lambda: update_discriminator(plain, game, batch, None),
        "spectral_norm": norm_alone,
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(rounds + 3):
        for name, task in tasks.items():
            seconds = _timed(task, device)
            if i >= 3:  # warm-up
                times[name].append(seconds)
    found = {f"{name}_ms": round(1000 * statistics.median(values), 3) for name, values in times.items()}
    return {
        **found,
        "share_percent": round(100 * found["spectral_norm_ms"] / found["update_ms"], 2),
    }


def _state(experiment: str, normalization: str, device: torch.device) -> TrainState:
    config = compose([f"experiment={experiment}", f"discriminator.normalization={normalization}"])
    return initial_state(config, *build_networks(config, ImageSpec(32, 3, 0)), device)


def _timed(task: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    record = {
        "protocol": f"batch {BATCH} + {BATCH}, float32, eager, channels_last; medians of {arguments.rounds} alternating rounds after 3 of warm-up",
        "device": name,
        "versions": versions(),
        **{experiment: measure(experiment, device, arguments.rounds) for experiment in ("cifar10_resnet", "cifar10_cnn")},
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")
