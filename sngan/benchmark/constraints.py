"""What each constraint of D costs: a training step of every row of the paper's Table 2 beside one without a constraint."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count

import torch
from tqdm import tqdm

from sngan import devices
from sngan.benchmark.compare import Record
from sngan.benchmark.measures import in_turn
from sngan.benchmark.request import Benchmark
from sngan.data.batches import Batches
from sngan.data.images import ImageSpec, Source, game_spec
from sngan.errors import UserError
from sngan.networks import build_networks
from sngan.precision import precision
from sngan.registry import build
from sngan.state import initial_state
from sngan.training import engine
from sngan.training.auto_precision import settled
from sngan.training.inputs import InputStream
from sngan.training.step import Game

UNCONSTRAINED = "none"


def constraints(requests: Mapping[str, Benchmark]) -> Iterator[Record]:
    """Yields a record for each request by its name, `UNCONSTRAINED` among them; all are of one game but for what constrains D.

    name, normalization, regularizer, weight_clip, loss, engine, precision
    seconds        of a step as the run's engine and precision take it, with its inputs: the median of `rounds` timings in turn
    ratio, ratios  beside the step without a constraint of the same round: the median; the smallest and the largest
    """
    first = next(iter(requests.values()))
    if first.augment.name != "none":
        raise UserError("the constraints of D are timed on images as they are; use augment=none")
    device = devices.resolve(first.device)
    source: Source = build("data", first.data)
    spec = game_spec(source.spec, conditional=first.conditional)
    images = source.load("train")
    if len(images) < first.batch:
        raise UserError(f"batch={first.batch} needs as many images, and there are {len(images)}; use a smaller batch")
    with ExitStack() as opened:
        bar = opened.enter_context(tqdm(total=len(requests) * (first.rounds + 1), disable=None, leave=False, file=sys.stderr))
        loaded = Batches(images, spec, batch=first.batch, d_steps=first.d_steps, seed=first.seed, data=first.data, device=device)
        batches = opened.enter_context(loaded)
        requests = {name: settled(request, device) for name, request in requests.items()}
        tasks = {name: _training(request, spec, batches, device) for name, request in requests.items()}
        for name, task in tasks.items():
            bar.set_description(f"warming up {name}")
            for _ in range(engine.WARMUP_STEPS + 1 if device.type == "cuda" else 1):
                task()
            bar.update()
        times = in_turn(tasks, device, rounds=first.rounds, bar=bar)
    for name, request in requests.items():
        ratios = [t / t0 for t, t0 in zip(times[name], times[UNCONSTRAINED], strict=True)]
        yield {
            "name": name,
            "normalization": request.discriminator.normalization,
            "regularizer": request.regularizer.name,
            "weight_clip": request.weight_clip,
            "loss": request.loss.name,
            "engine": engine.choose(request, device).kind,
            "precision": request.precision,
            "seconds": statistics.median(times[name]),
            "ratio": statistics.median(ratios),
            "ratios": [min(ratios), max(ratios)],
        }


def _training(request: Benchmark, spec: ImageSpec, batches: Batches, device: torch.device) -> Callable[[], None]:
    """A training step with its inputs, on a state of its own."""
    state = initial_state(request, *build_networks(request, spec), device)
    game = Game(
        build("loss", request.loss),
        build("regularizer", request.regularizer),
        request.weight_clip,
        request.ema.decay,
        accumulate=request.accumulate,
    )
    step = engine.build(engine.choose(request, device).kind, state, game)
    inputs, steps = InputStream(request, state.G.network, batches, device), count()

    def train() -> None:
        with precision(request.precision, device):
            step(inputs(next(steps)))

    return train
