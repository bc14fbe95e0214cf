"""Times the variants against each other, in turn, in one process."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from sngan import devices
from sngan.benchmark.measures import fewer, flops, in_turn, kernel_calls, norm_seconds, peak_flops, peak_memory, seconds
from sngan.benchmark.request import Benchmark
from sngan.benchmark.variants import Contender, Variant, ladder
from sngan.data.images import Source, game_spec
from sngan.errors import UserError, nearest
from sngan.losses.loss import Loss
from sngan.provenance import versions
from sngan.registry import build
from sngan.training.combinations import check_combination
from sngan.training.engine import WARMUP_STEPS

Record = dict[str, Any]


def benchmark(request: Benchmark) -> Iterator[Record]:
    """Yields a record for each variant, in order:

        name, adds, engine, precision
        seconds, images_per_s    of a step, the median of `rounds` timings; real images that D sees per second
        ratio                    the speed relative to the textbook's loop, None if that was left out
        kernels                  launches per step on a GPU, operations on a CPU; None for compiled code on a CPU
        flops, of_peak           floating-point operations per step, counted from the shapes, and their rate as a fraction of the rate that
                                 the device reaches in large products of the same precision
        memory_mb                peak memory of a step, without networks and images
        spectral_norm_share      time of spectral norm alone as a fraction of a step; data_share: the same for the inputs, which worker
                                 processes may prepare during the step

    All variants really train, on the request's images. Raises `UserError` before anything is timed.
    """
    device = devices.resolve(request.device)
    _check(request)
    variants = _chosen(request, ladder(device))
    source: Source = build("data", request.data)
    spec = game_spec(source.spec, conditional=request.conditional)
    images = source.load("train")
    if len(images) < request.batch:
        raise UserError(
            f"batch={request.batch}: the textbook's loader needs as many images, and there are {len(images)}; use a smaller batch"
        )
    with ExitStack() as opened:
        bar = opened.enter_context(tqdm(total=len(variants) * (request.rounds + 1), disable=None, leave=False, file=sys.stderr))
        contenders, known = [], []
        for variant in variants:
            bar.set_description(f"warming up {variant.name}")
            contender = opened.enter_context(closing(Contender(variant, request, spec, images, device)))
            known.append(_once(contender))
            contenders.append(contender)
            bar.update()
        times = in_turn(
            {contender.variant.name: contender.step for contender in contenders}, device, rounds=request.rounds, bar=bar
        )
        peaks = {kind: peak_flops(kind, device) for kind in {variant.precision for variant in variants}}
        medians = [statistics.median(measured) for measured in times.values()]
        textbook = medians[0] if variants[0].name == "textbook" else None
        for contender, facts, median in zip(contenders, known, medians, strict=True):
            yield _record(request, contender, facts, median, textbook, peaks[contender.variant.precision])


def _check(request: Benchmark) -> None:
    check_combination(request)
    D = request.discriminator
    if (D.normalization, D.scale, D.iterate_per, D.power_iterations, list(D.exclude)) != ("spectral", 1.0, "update", 1, []):
        raise UserError(
            "the benchmark's textbook loop has the paper's spectral norm; leave discriminator.normalization, scale, exclude, iterate_per "
            "and power_iterations as they are"
        )
    if request.accumulate > 1:
        raise UserError("the benchmark's textbook loop takes each batch as a whole; use accumulate=1")
    if not isinstance(build("loss", request.loss), Loss):
        raise UserError(
            f"the benchmark's textbook loop shows G no real images, which loss={request.loss.name} needs; use loss=hinge"
        )
    if request.regularizer.name != "none" or request.weight_clip or request.g_orthogonal:
        raise UserError(
            "the benchmark's textbook loop has no regularizer, weight_clip or g_orthogonal; use regularizer=none weight_clip=null "
            "g_orthogonal=null"
        )
    if request.augment.name != "none":
        raise UserError("the benchmark's textbook loop shows D images as they are; use augment=none")
    if request.conditional and D.options.get("labels") == "auxiliary":
        raise UserError("the benchmark's textbook loop has no auxiliary classifier; use discriminator.labels=projection or concat")


def _chosen(request: Benchmark, variants: list[Variant]) -> list[Variant]:
    names = [variant.name for variant in variants]
    for name in request.variants:
        if name not in names:
            raise UserError(f"variants={name}: no variant of this device has this name; {nearest(name, names)}")
    return [variant for variant in variants if not request.variants or variant.name in request.variants]


def _once(contender: Contender) -> Record:
    """Warms up, and measures what one run determines."""
    variant, device = contender.variant, contender.device
    inputs = contender.inputs()
    # the first steps of a CUDA graph run uncaptured, and use as much memory as the captured step
    memory = (
        peak_memory(lambda: contender.train_step(inputs), device) if device.type == "cuda" or variant.engine == "eager" else None
    )
    if variant.engine != "eager":
        for _ in range(WARMUP_STEPS + 1 if device.type == "cuda" else 1):
            contender.train_step(inputs)
        if memory is None:
            memory = peak_memory(lambda: contender.train_step(inputs), device)
    # the same step in eager mode has the same operations
    written = replace(variant, engine="eager", precision="fp32")
    with closing(Contender(written, contender.config, contender.spec, contender.images, device)) as counted:
        operations = flops(counted.train_step, inputs)
    few = inputs if device.type == "cuda" else fewer(inputs, 2, 2)  # as many calls, in less time
    return {
        "kernels": kernel_calls(lambda: contender.train_step(few), device, compiled=variant.engine != "eager"),
        "flops": operations,
        "memory_mb": memory,
    }


def _record(
    request: Benchmark, contender: Contender, facts: Record, step_s: float, textbook_s: float | None, peak: float
) -> Record:
    variant, device = contender.variant, contender.device
    return {
        "name": variant.name,
        "adds": variant.adds,
        "engine": variant.engine,
        "precision": variant.precision,
        "seconds": step_s,
        "images_per_s": request.d_steps * request.batch / step_s,
        "ratio": textbook_s / step_s if textbook_s else None,
        **facts,
        "of_peak": facts["flops"] / step_s / peak,
        "spectral_norm_share": norm_seconds(contender.state.D, device, d_steps=request.d_steps) / step_s,
        "data_share": statistics.median(seconds(contender.inputs, device) for _ in range(5)) / step_s,
    }


def circumstances(request: Benchmark) -> Record:
    """What the records of a request have in common."""
    return {
        "device": devices.describe(devices.resolve(request.device)),
        "versions": versions(),
        "setting": {
            "generator": request.generator.name,
            "discriminator": request.discriminator.name,
            "data": request.data.name,
            "conditional": request.conditional,
            "batch": request.batch,
            "g_batch": request.g_batch,
            "d_steps": request.d_steps,
            "workers": request.data.workers,
        },
        "rounds": request.rounds,
    }
