"""What `make train` gives once everything is installed, for three seeds, and what following sigma less closely, and bfloat16, do to it.

    python scripts/first_run.py [--seeds 3]        # three quarters of an hour on two cores

Each run is a process of its own, timed from its start to its end, scores included. `sigma` is of training apart from these runs: after every
step from 300 to 800 the ratio of sigma by power iteration to its exact value, of the weight of D whose 5 % quantile is least. The picture is
the last grid of seed 0.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from record_head import head

import sngan
from sngan.data.batches import Batches
from sngan.data.images import Source, game_spec
from sngan.files import read_json, read_lines, write_json
from sngan.layers.singular_values import drift
from sngan.networks import build_networks
from sngan.precision import precision
from sngan.state import initial_state
from sngan.training.engine import build as build_engine
from sngan.training.inputs import InputStream
from sngan.training.schedule import learning_rate, set_learning_rate
from sngan.training.step import Game

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
WORDS = ["experiment=shapes_conditional", "device=cpu"]
VARIANTS = {
    "the recipe": [],
    "one power iteration an update": ["discriminator.power_iterations=1", "discriminator.iterate_per=update"],
    "in bfloat16": ["precision=bf16"],
}
FROM, TO = 300, 800


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--only", choices=VARIANTS, metavar="VARIANT", help="measure this one again, and keep the others' records")
    args = parser.parse_args()
    made = head("first_run.py", "make train after installation: sngan train " + " ".join(WORDS))
    record = read_json(RESULTS / "shapes_default.json") if args.only else {**made, "variants": {}}
    for name in [args.only] if args.only else VARIANTS:
        words = VARIANTS[name]
        record["variants"][name] = {
            **{key: made[key] for key in ("date", "device", "commit")},
            "words": words,
            "sigma": followed(words),
            "runs": [run(words, seed) for seed in range(args.seeds)],
        }
        write_json(RESULTS / "shapes_default.json", record)


def run(words: list[str], seed: int) -> dict[str, Any]:
    """One run: its seconds, and the records of its scores."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sngan", "train", *WORDS, *words, f"seed={seed}", f"run_dir={folder}/run"]
        start = time.monotonic()
        subprocess.run(command, check=True)
        seconds = round(time.monotonic() - start)
        if not words and seed == 0:
            shutil.copy(Path(folder, "run/samples/latest.png"), RESULTS / "shapes_samples.png")
        return {"seed": seed, "seconds": seconds, "records": read_lines(Path(folder, "run/metrics.jsonl"))}


def followed(words: list[str]) -> dict[str, Any]:
    """How closely power iteration follows sigma: the weight that it follows least, the mean of the ratio, its 5 % quantile."""
    config = sngan.compose([*WORDS, *words])
    source: Source = sngan.build("data", config.data)
    spec = game_spec(source.spec, conditional=config.conditional)
    state = initial_state(config, *build_networks(config, spec), CPU)
    step = build_engine("eager", state, Game(sngan.build("loss", config.loss), None, None, config.ema.decay))
    options = {"batch": config.batch, "d_steps": config.d_steps, "seed": config.seed, "data": config.data, "device": CPU}
    inputs = InputStream(config, state.G.network, Batches(source.load("train"), spec, **options), CPU)
    ratios: dict[str, list[float]] = {}
    for number in range(1, TO + 1):
        for optimizer in (state.G_optimizer, state.D_optimizer):
            set_learning_rate(optimizer, learning_rate(number - 1, config.steps, config.optimizer))
        with precision(config.precision, CPU):
            step(inputs(number))
        if number >= FROM:
            for weight, ratio in drift(state.D).items():
                ratios.setdefault(weight, []).append(ratio)
    quantile, weight = min((statistics.quantiles(found, n=20)[0], weight) for weight, found in ratios.items())
    return {"weight": weight, "mean": statistics.fmean(ratios[weight]), "quantile_5": quantile}


if __name__ == "__main__":
    main()
