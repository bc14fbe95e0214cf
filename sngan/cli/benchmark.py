"""`sngan benchmark`: times a training step, technique by technique."""

from __future__ import annotations

import json
import shlex
from datetime import date

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sngan.benchmark.compare import Record, benchmark, circumstances
from sngan.benchmark.request import Benchmark
from sngan.cli.compose import run_values, typed
from sngan.cli.jobs import run
from sngan.errors import UserError
from sngan.files import check_writable, write_json
from sngan.provenance import commit


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    return run("benchmark", _benchmark, argv)


def _benchmark(cfg: DictConfig) -> None:
    overrides = HydraConfig.get().overrides.task
    request = typed(Benchmark, run_values(cfg, overrides))
    if request.out and not request.out.parent.is_dir():
        raise UserError(f"out={request.out}: there is no folder {request.out.parent}; make it first")
    if request.out:
        try:
            check_writable(request.out)
        except OSError as error:
            raise UserError(f"out={request.out} cannot be written ({error.strerror}); give another out=FILE") from None
    variants, common = list(benchmark(request)), circumstances(request)
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
        print(table(variants, common))


def table(records: list[Record], common: Record) -> str:
    """A table of the variants, and how they were measured."""
    setting = common["setting"]
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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines += ["", *(f"  {r['name']:<{widths[0]}}  {r['adds']}" for r in records), ""]
    lines += [
        f"generator {setting['generator']}, discriminator {setting['discriminator']}, images of {setting['data']}, batch {setting['batch']}, "
        f"g_batch {setting['g_batch']}, d_steps {setting['d_steps']}; {common['device']}, torch {common['versions']['torch']}",
        f"medians of {common['rounds']} rounds in turn; each line has what the lines above it have",
        "images/s: real images that D sees; of peak: of the speed of large products in the same precision; MB: beyond networks and images;",
        "sigma: spectral norm alone, data: the inputs alone, as parts of a step",
    ]
    return "\n".join(lines)
