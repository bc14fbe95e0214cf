"""What two processes gain over one on the same batch, what averaging the gradients costs them, and many GPUs on paper.

    python scripts/scaling.py [--rounds 3] [--out FILE]

One and two processes of one thread each train in turn on the same global batches, in processes of their own: a ResNet game in float32,
eager, over gloo. Seconds are medians over rounds of the median of 5 steps after 2 that warm up, the slower rank's. `cpu_seconds` are of
all ranks together, and say what the work costs where the machine is shared: there, two processes also get two shares of it, and the clock
compares nothing. `load` says how many processes wanted the `cores` when it ended. `average_seconds` is one all-reduce of each network's
gradients as they are averaged, from when all ranks are there (median of 20), times the updates of a step: the most that could be saved by
averaging gradients while others are still computed.

On paper: a step of the published ResNet game with 64 images and 128 latents on each GPU. COMPUTE says what a GPU does, LINKS what joins
them; a ring moves 2 (n - 1) / n of the gradients' bytes over the slowest link, once for each update. None of it is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

import sngan
from sngan import devices, distributed
from sngan.data.batches import Batches
from sngan.data.images import Source
from sngan.errors import UserError
from sngan.files import write_json
from sngan.launch import launch
from sngan.networks import build_networks
from sngan.optimizer import trained
from sngan.provenance import commit, versions
from sngan.state import initial_state
from sngan.training.engine import build as build_engine
from sngan.training.inputs import InputStream
from sngan.training.step import Game

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
SETTING = {
    "experiment": "cifar10_resnet",
    "generator.widths": "[64,64,64,64]",
    "discriminator.widths": "[32,32,32,32]",
    "batch": 32,
    "g_batch": 64,
    "d_steps": 1,
}
COMPUTE = {"gflop": 2393, "flops": 0.25 * 989e12}
"""Of a step with 64 images, 128 latents and 5 discriminator updates (benchmark_cpu_resnet.json); a quarter of an H100's peak in bfloat16."""
LINKS = {8: (200e9, 5e-6), 64: (25e9, 20e-6)}
"""Up to so many GPUs: bytes/s and seconds a message, over NVLink in a machine of 8, and by one link of 200 Gbit/s for each machine."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "scripts" / "results" / "scaling.json")
    args = parser.parse_args()
    if not args.out.absolute().parent.is_dir():
        raise UserError(f"--out={args.out}: its folder does not exist; make it first")
    rounds = [{n: measured(n) for n in (1, 2)} for _ in range(args.rounds)]
    record = {
        "date": date.today().isoformat(),
        "command": shlex.join(["python", "scripts/scaling.py", *sys.argv[1:]]),
        "commit": commit(),
        "device": devices.describe(CPU),
        "versions": versions(),
        "load": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "setting": SETTING,
        "rounds": args.rounds,
        "processes": [
            {"processes": n, **{key: statistics.median(each[n][key] for each in rounds) for key in rounds[0][n]}} for n in (1, 2)
        ],
        "all_rounds": [[each[n] for n in (1, 2)] for each in rounds],
        "on_paper": [on_paper(n) for n in (1, 2, 4, 8, 16, 32, 64)],
    }
    write_json(args.out, record)
    for row in (*record["processes"], *record["on_paper"]):
        print(json.dumps(row))


def measured(processes: int) -> dict[str, float]:
    """One measurement, by so many fresh processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{processes} processes ended with {done.returncode}: {done.stderr[-300:]}")
    return next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


def as_a_rank() -> None:
    """Trains, and prints on the first rank what was measured."""
    torch.set_num_threads(1)
    config = sngan.compose(["data=shapes", "protocol=none", "device=cpu", *(f"{key}={value}" for key, value in SETTING.items())])
    with distributed.process_group(CPU):
        source: Source = sngan.build("data", config.data)
        state = initial_state(config, *build_networks(config, source.spec), CPU)
        step = build_engine("eager", state, Game(sngan.build("loss", config.loss), None, None, config.ema.decay))
        ranks = {"rank": distributed.rank(), "world": distributed.world_size()}
        options = {"batch": config.batch, "d_steps": config.d_steps, "seed": 0, "data": config.data, "device": CPU}
        inputs = InputStream(config, state.G.network, Batches(source.load("train"), source.spec, **options, **ranks), CPU)
        times = [timed(lambda number=number: step(inputs(number))) for number in range(7)][2:]
        gradients = {network: [torch.zeros_like(p) for p in trained(network)] for network in (state.D, state.G)}
        average = {
            network: statistics.median(timed(lambda tensors=tensors: distributed.average(tensors))[0] for _ in range(20))
            for network, tensors in gradients.items()
        }
        seconds = max(distributed.gathered(statistics.median(wall for wall, _ in times)))
        found = {
            "seconds": seconds,
            "images_per_s": config.batch * config.d_steps / seconds,
            "cpu_seconds": sum(distributed.gathered(statistics.median(cpu for _, cpu in times))),
            "average_seconds": max(distributed.gathered(config.d_steps * average[state.D] + average[state.G])),
            "average_mb": (config.d_steps * of(gradients[state.D]) + of(gradients[state.G])) / 1e6,
        }
        if distributed.rank() == 0:
            print(json.dumps(found), flush=True)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of this process, from when all ranks are there."""
    distributed.wait_for_all()
    start, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - worked


def of(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def on_paper(gpus: int) -> dict[str, float]:
    """A step of so many GPUs with 64 images each."""
    compute = COMPUTE["gflop"] * 1e9 / COMPUTE["flops"]
    config = sngan.compose(["experiment=cifar10_resnet", "data=shapes"])
    G, D = (sum(p.nbytes for p in trained(n)) for n in build_networks(config, sngan.ImageSpec(32, 3, n_classes=0)))
    rate, message = next(link for most, link in LINKS.items() if gpus <= most)
    sent = (config.d_steps * D + G) * 2 * (gpus - 1) / gpus  # bytes
    average = sent / rate + (config.d_steps + 1) * 2 * math.ceil(math.log2(gpus)) * message
    return {
        "gpus": gpus,
        "batch": 64 * gpus,
        "sent_mb": round(sent / 1e6, 1),
        "average_ms": round(1e3 * average, 2),
        "step_ms": round(1e3 * (compute + average), 2),
        "efficiency": round(compute / (compute + average), 3),
    }


if __name__ == "__main__":
    try:
        as_a_rank() if launch() else main()
    except UserError as error:
        sys.exit(f"error: {error}")
