"""`sngan benchmark`: times a training step, technique by technique."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import date
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sngan.benchmark.request import Benchmark
from sngan.cli.compose import composed, run_values, typed
from sngan.cli.hydra_app import configs
from sngan.cli.jobs import run
from sngan.errors import UserError
from sngan.files import check_writable, write_json
from sngan.provenance import commit

Record = dict[str, Any]

CONSTRAINTS = "constraints"
DECIDED = ("constraint", "loss", "regularizer", "weight_clip")
"""What a row of `configs/constraint` may set, besides the normalisation."""


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    return run("benchmark", _benchmark, argv)


def _benchmark(cfg: DictConfig) -> None:
    overrides = HydraConfig.get().overrides.task
    values = run_values(cfg, overrides)
    of_constraints = values["variants"] in (CONSTRAINTS, [CONSTRAINTS])
    requests = _rows(overrides) if of_constraints else {"": typed(Benchmark, values)}
    request = next(iter(requests.values()))
    if request.out and not request.out.parent.is_dir():
        raise UserError(f"out={request.out}: there is no folder {request.out.parent}; make it first")
    if request.out:
        try:
            check_writable(request.out)
        except OSError as error:
            raise UserError(f"out={request.out} cannot be written ({error.strerror}); give another out=FILE") from None
    # torch takes seconds, and what is wrong with the words is told without it
    from sngan.benchmark.compare import benchmark, circumstances
    from sngan.benchmark.constraints import constraints
    from sngan.benchmark.variants import recommended

    variants = list(constraints(requests) if of_constraints else benchmark(request))
    common = circumstances(request)
    if not of_constraints and not request.variants:
        common["recommended"] = recommended(variants)
    if request.out:
        made = {
            "date": date.today().isoformat(),
            "command": shlex.join(["sngan", "benchmark", *(o for o in overrides if not o.startswith("out="))]),
            "commit": commit(),
        }
        write_json(request.out, {**made, **common, "variants": variants})
    if request.format == "json":
        print("\n".join(json.dumps({**variant, **common}) for variant in variants))
    else:
        print(constraints_table(variants, common) if of_constraints else table(variants, common))


def _rows(overrides: Sequence[str]) -> dict[str, Benchmark]:
    """The request with each choice of the group `constraint`, after one without any. Raises `UserError` for words that choose one themselves."""
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        if key in DECIDED or key.startswith("discriminator.normalization"):
            raise UserError(f"{word}: variants={CONSTRAINTS} times every row of configs/constraint, which sets {key}; leave it out")
    words = [word for word in overrides if not word.startswith("variants=")]
    rows = {"none": ["discriminator.normalization=none"]}
    rows |= {path.stem: [f"constraint={path.stem}"] for path in sorted((configs() / "constraint").glob("*.yaml"))}
    return {name: typed(Benchmark, run_values(composed("benchmark", [*words, *row]), overrides)) for name, row in rows.items()}


def table(records: list[Record], common: Record) -> str:
    """A table of the variants, and how they were measured."""
    rows = [["", "ms a step", "images/s", "ratio", "kernels", "GFLOP", "of peak", "MB", "sigma", "data"]]
    for r in records:
        rows.append(
            [
                r["name"],
                f"{1000 * r['seconds']:.4g}",
                f"{r['images_per_s']:.0f}",
                "-" if r["ratio"] is None else f"{r['ratio']:.2f}x",
                "-" if r["kernels"] is None else str(r["kernels"]),
                f"{r['flops'] / 1e9:.4g}",
                f"{100 * r['of_peak']:.0f} %",
                "-" if r["memory_mb"] is None else f"{r['memory_mb']:.0f}",
                f"{100 * r['spectral_norm_share']:.1f} %",
                f"{100 * r['data_share']:.1f} %",
            ]
        )
    width = max(len(r["name"]) for r in records)
    return "\n".join(
        [
            *_aligned(rows),
            "",
            *(f"  {r['name']:<{width}}  {r['adds']}" for r in records),
            "",
            _game(common),
            f"medians of {common['rounds']} rounds in turn; each line has what the lines above it have, but for compiled networks where it says so",
            "images/s: real images that D sees; of peak: of the speed of large products in the same precision; MB: beyond networks and images;",
            "sigma: spectral norm alone, data: the inputs alone, as parts of a step",
            *(f"fastest in {kind}: engine={how} precision={kind}" for kind, how in common.get("recommended", {}).items()),
        ]
    )


def constraints_table(records: list[Record], common: Record) -> str:
    """What each constraint costs, and how it was measured."""
    rows = [["", "ms a step", "beside none", "smallest", "largest"]]
    for r in records:
        rows.append([r["name"], f"{1000 * r['seconds']:.4g}", *(f"{ratio:.2f}x" for ratio in (r["ratio"], *r["ratios"]))])
    return "\n".join(
        [
            *_aligned(rows),
            "",
            _game(common),
            f"medians of {common['rounds']} rounds in turn; a ratio is to the step without a constraint in the same round",
        ]
    )


def _aligned(rows: list[list[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _game(common: Record) -> str:
    setting = common["setting"]
    return (
        f"generator {setting['generator']}, discriminator {setting['discriminator']}, images of {setting['data']}, batch {setting['batch']}, "
        f"g_batch {setting['g_batch']}, d_steps {setting['d_steps']}; {common['device']}, torch {common['versions']['torch']}"
    )
