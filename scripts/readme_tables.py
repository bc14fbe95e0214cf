"""Fills the tables of README.md from the records in scripts/results.

    python scripts/readme_tables.py            # or make tables
    python scripts/readme_tables.py --check    # writes nothing; says which table is not what the records give, with exit code 1

A table stands between `<!-- table NAME -->` and `<!-- /table -->`. NAME is `default_run`, `large_work`, `scaling`, `constraints` for all
records of `sngan benchmark variants=constraints`, `benchmark` for all of the other benchmarks, the name of one of their files,
`benchmark_cpu_resnet` say, or `reproduce_cifar10` and the like for what `reproduce.py` has measured.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import reproduction_records

from sngan.errors import UserError, nearest
from sngan.files import read_json, replace

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"(?ms)^<!-- table (?P<name>[^\n]*?) -->\n(?P<text>.*?)^<!-- /table -->$")
MARKER = re.compile(r"(?m)^<!-- (?:table .*|/table) -->$")
NOT_YET = "Not measured yet.\n"

Record = dict[str, Any]
Column = Callable[[Record], str | None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--results", type=Path, default=ROOT / "scripts" / "results")
    args = parser.parse_args()
    old = args.readme.read_text(encoding="utf-8")
    new = filled(old, args.results)
    stale = [a["name"] for a, b in zip(TABLE.finditer(old), TABLE.finditer(new), strict=True) if a[0] != b[0]]
    if args.check and stale:
        print(f"{args.readme.name} is not what the records give: {', '.join(stale)}; run make tables", file=sys.stderr)
        return 1
    if stale:
        replace(args.readme, new)
        print(f"{args.readme.name}: {', '.join(stale)}")
    return 0


def filled(text: str, results: Path) -> str:
    """The text with each of its tables made anew; `UserError` for a name that is no table or a marker without its other half."""
    if len(MARKER.findall(text)) != 2 * len(TABLE.findall(text)):
        raise UserError("a table's marker has no other half; a table stands between <!-- table NAME --> and <!-- /table -->")

    benchmarks = sorted(results.glob("benchmark_*.json"))
    tables: dict[str, Callable[[], str]] = {
        "default_run": lambda: default_run(results / "shapes_default.json"),
        "scaling": lambda: scaling(results / "scaling.json"),
        "spectral_norm_speed": lambda: spectral_norm_speed(results / "spectral_norm_speed.json"),
        "large_work": lambda: large_work(results / "large_work.json"),
        "constraints": lambda: constraints(sorted(results.glob("constraints_*.json"))),
        "benchmark": lambda: "\n".join(map(benchmark, benchmarks)),
        **{path.stem: partial(benchmark, path) for path in benchmarks},
        **{f"reproduce_{name}": partial(reproduction, table, results) for name, table in reproduction_records.tables().items()},
    }

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in tables:
            raise UserError(f"<!-- table {name} -->: no such table; {nearest(name, tables)}")
        return f"<!-- table {name} -->\n{tables[name]() or NOT_YET}<!-- /table -->"

    return TABLE.sub(fill, text)


# The tables, as Markdown; empty where there is no record


def default_run(path: Path) -> str:
    """What `first_run.py` has measured: the quick distance by step, and the scores at the end beside how closely sigma is followed."""
    record = read_json(path)
    if not record:
        return ""
    recipe = next(iter(record["variants"].values()))["runs"]
    quick = [[r for r in run["records"] if r["role"] == "quick"] for run in recipe]
    score = next(iter(quick[0][0]["scores"]))
    curve = {
        "step": [r["step"] for r in quick[0]],
        f"`{score}`": [over_seeds([run[i]["scores"][score] for run in quick]) for i in range(len(quick[0]))],
    }
    last = {
        name: [max((r for r in run["records"] if r["role"] == "full"), key=lambda r: int(r["step"])) for run in variant["runs"]]
        for name, variant in record["variants"].items()
    }
    names = [name for name in last[next(iter(last))][0]["scores"] if not name.startswith("classifier_score")]
    ends: dict[str, list[Any]] = {"trained": list(last)}
    for name in names:
        ends[f"`{name}`"] = [over_seeds([r["scores"][name] for r in runs]) for runs in last.values()]
    sigmas = [variant["sigma"] for variant in record["variants"].values()]
    ends["sigma / its exact value: mean, 5 % quantile"] = [f"{sigma['mean']:.3f}, {sigma['quantile_5']:.3f}" for sigma in sigmas]
    ends["seconds"] = [over_seeds([run["seconds"] for run in v["runs"]], ".0f") for v in record["variants"].values()]
    return f"{len(recipe)} seeds, mean ± deviation; {origin(record, path)}:\n\n{table(curve)}\n{table(ends)}"


def over_seeds(values: Sequence[float], form: str = ".2f") -> str:
    """Mean and sample deviation."""
    deviation = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{form}}{deviation}"


def benchmark(path: Path) -> str:
    """The variants of a benchmark; a column that no variant has a value for is left out."""
    record = read_json(path)
    rounds = f"medians of {record['rounds']} alternating rounds"
    columns = {name: [value(variant) for variant in record["variants"]] for name, value in VARIANT.items()}
    shown = {name: values for name, values in columns.items() if any(values)}
    return f"{game(record)}; {rounds}; {origin(record, path)}:\n\n{table(shown)}"


def game(record: Record) -> str:
    """The game of a benchmark."""
    s = record["setting"]
    updates = f"{s['d_steps']} discriminator update{'s' * (s['d_steps'] > 1)} a step"
    return f"G `{s['generator']}` and D `{s['discriminator']}` on `{s['data']}`, batch {s['batch']}, {s['g_batch']} latents for G, {updates}"


def constraints(paths: Sequence[Path]) -> str:
    """What each row of Table 2 costs, a column for each game."""
    columns: dict[str, list[Any]] = {}
    games = []
    for path in paths:
        record = read_json(path)
        rows = record["variants"]
        columns.setdefault("D's constraint", [row["name"] for row in rows])
        title = f"{record['setting']['discriminator']}, {digits(rows[0]['seconds'])} s without"
        columns[title] = ["{:.2f}x ({:.2f} to {:.2f})".format(row["ratio"], *row["ratios"]) for row in rows]
        games.append(f"{game(record)}, {record['rounds']} rounds, {origin(record, path)}")
    return f"{'; '.join(games)}:\n\n{table(columns)}" if paths else ""


def spectral_norm_speed(path: Path) -> str:
    """Torch's two forms of spectral norm, and the norm of maps, beside ours in place."""
    record = read_json(path)
    if not record:
        return ""
    rows = [(name, shape, n) for name, shape in record["shapes"].items() for n in (1, 2)]
    found = [shape[f"forwards={n}"] for _, shape, n in rows]
    columns: dict[str, list[Any]] = {
        "weights of": [f"{name} ({digits(shape['numbers'], 1e-6)} M)" if n == 1 else "" for name, shape, n in rows],
        "forwards": [n for _, _, n in rows],
        "ms": [digits(f["ms"]["ours"]) for f in found],
    }
    for form, title in (
        ("parametrizations", "torch's parametrisation"),
        ("hooks", "torch's hooks"),
        ("ours, norm=map", "norm=map"),
    ):
        columns[title] = [f"{f['times_ours'][form]:.2f}x" for f in found]
    steps = [shape["step"]["times_ours"] if n == 1 else None for _, shape, n in rows]
    columns["step"] = [f"{s['parametrizations']:.2f}x, {s['hooks']:.2f}x" if s else "" for s in steps]
    columns["operations"] = [f["operations"]["ours"] for f in found]
    columns["as on a GPU"] = [f["operations_batched"] for f in found]
    columns["torch's"] = [f["operations"]["parametrizations"] for f in found]
    return (
        "The norm alone in an update of all weights, with its gradient, where one or two forwards see the weights: our time, how many times "
        "as long the others take; the same of torch's two forms in a whole step, forward and backward; and the number of operations, which are "
        f"kernels on a GPU. CPU time, medians of {record['rounds']} rounds in turn, "
        f"float32, eager, {record['threads']} thread; {origin(record, path)}:\n\n{table(columns)}"
    )


def scaling(path: Path) -> str:
    """Two processes beside one, and many GPUs on paper."""
    record = read_json(path)
    if not record:
        return ""
    found, s = record["processes"], record["setting"]
    title = (
        f"ResNets of a quarter of the published widths or less, batch {s['batch']}, {s['g_batch']} latents for G, {s['d_steps']} "
        f"discriminator update a step, processes of one thread; medians of {record['rounds']} alternating round{'s' * (record['rounds'] > 1)}; "
    )
    shared = (
        ""
        if record["load"] <= record["cores"] + 1
        else (
            f"; {digits(record['load'])} processes wanted the {record['cores']} cores: the CPU seconds compare the work, the clock does not"
        )
    )
    measured = {
        "processes": [r["processes"] for r in found],
        "s a step": [digits(r["seconds"]) for r in found],
        "images/s": [digits(r["images_per_s"]) for r in found],
        "CPU s a step, of all": [digits(r["cpu_seconds"]) for r in found],
        "averaging, s": [digits(r["average_seconds"]) for r in found],
    }
    paper = {
        "GPUs": [r["gpus"] for r in record["on_paper"]],
        "batch": [digits(r["batch"]) for r in record["on_paper"]],
        "MB sent by each": [r["sent_mb"] for r in record["on_paper"]],
        "ms of averaging": [r["average_ms"] for r in record["on_paper"]],
        "ms a step": [r["step_ms"] for r in record["on_paper"]],
        "of linear": [f"{100 * r['efficiency']:.0f} %" for r in record["on_paper"]],
    }
    computed = (
        "Computed, not measured: the CIFAR-10 ResNet game with 64 images on each GPU, a quarter of an H100's peak in bfloat16, NVLink among 8 "
        "GPUs of a machine and one link of 200 Gbit/s for each machine (`scripts/scaling.py`):"
    )
    return f"{title}{origin(record, path)}{shared}:\n\n{table(measured)}\n{computed}\n\n{table(paper)}"


def reproduction(table: reproduction_records.Table, results: Path) -> str:
    """What was reproduced, beside what is published."""
    return reproduction_records.markdown(table, reproduction_records.Records(results / f"reproduce_{table.name}.json")) + "\n"


VARIANT: dict[str, Column] = {
    "each adds": lambda v: v["adds"],
    "s a step": lambda v: digits(v["seconds"]),
    "images/s": lambda v: digits(v["images_per_s"]),
    "ratio": lambda v: v["ratio"] and f"{v['ratio']:.2f}x",
    "kernels or operations": lambda v: digits(v["kernels"]),
    "GFLOP": lambda v: digits(v["flops"], 1e-9),
    "of the peak": lambda v: percent(v["of_peak"]),
    "MB beyond networks": lambda v: digits(v["memory_mb"]),
    "spectral norm": lambda v: percent(v["spectral_norm_share"]),
    "data": lambda v: percent(v["data_share"]),
}
"""The columns of a benchmark: of an entry of `variants`, None where it was not measured."""


def large_work(path: Path) -> str:
    """How time and memory grow, from the newest record of each measurement; a table for each kind of growth and device."""
    newest: dict[tuple[str, str], dict[int, Record]] = {}
    for record in read_json(path) or []:
        newest.setdefault((record["what"], record["device"]), {})[record["size"]] = record
    parts = []
    for what, device in sorted(newest, key=lambda key: list(GROWTH).index(key[0])):
        title, columns = GROWTH[what]
        records = [record for _, record in sorted(newest[what, device].items())]
        last = max(records, key=lambda record: record["date"])
        body = table({name: [value(record) for record in records] for name, value in columns.items()})
        parts.append(f"{title} {origin(last, path)}:\n\n{body}")
    return "\n".join(parts)


def _grown(r: Record) -> int:
    return int(r["peak_mb"] - r["start_mb"])


def _needed(r: Record) -> int:
    return int(r["kept_mb"] + r["gradients_and_moments_mb"])


OF_STEPS: dict[str, Column] = {
    "TFLOP a step": lambda r: digits(r["gflop"], 1e-3),
    "s a step": lambda r: f"{digits(r['seconds'])} (n = {r['n']})",
    "GFLOP/s": lambda r: digits(r["gflop"] / r["seconds"]),
    "MB it must hold": lambda r: digits(_needed(r)),
    "MB it takes": lambda r: digits(_grown(r)),
    "ratio": lambda r: f"{_grown(r) / _needed(r):.2f}",
}
OF_PICTURES: dict[str, Column] = {
    "pictures": lambda r: digits(r["size"]),
    "MB of pixels": lambda r: digits(r["pixels_mb"]),
    "s to open": lambda r: digits(r["list_seconds"] + r["check_seconds"]),
    "µs a picture": lambda r: digits((r["list_seconds"] + r["check_seconds"]) / r["size"], 1e6),
    "images/s": lambda r: digits(r["images_per_s"]),
    "MB of the process": lambda r: digits(r["peak_mb"]),
    "MB of a worker": lambda r: digits(r["worker_peak_mb"]),
}
GROWTH: dict[str, tuple[str, dict[str, Column]]] = {
    "batch": (
        "With the batch: the paper's ResNets at 32 px, one discriminator update a step, twice as many latents for G, float32, eager;",
        {"batch": lambda r: digits(r["size"]), **OF_STEPS},
    ),
    "resolution": (
        "With the size of the images: the published ResNets at batch 8, the rest as above;",
        {"px": lambda r: digits(r["size"]), **OF_STEPS},
    ),
    "pictures": (
        "With their number: a folder of PNG files of 32 px, decoded once to a file that two workers stream in batches of 64, nothing else "
        "going on. A worker's memory counts what it has mapped of that file, pages which the processes share and the system takes back;",
        OF_PICTURES,
    ),
}
"""Kind of growth -> what it says above the table, and the columns: of a record of scripts/large_work.py."""


def origin(record: Record, path: Path) -> str:
    """Machine, software, date and the file of records."""
    return (
        f"{record['device']}, torch {record['versions']['torch']}, {record['date']}, [`{path.name}`](scripts/results/{path.name})"
    )


# Cells


def table(columns: Mapping[str, Sequence[Any]]) -> str:
    """Markdown of columns by their heads; what is None is an empty cell."""
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    cells = [["" if cell is None else str(cell).replace("|", r"\|") for cell in line] for line in lines]
    head, *rows = [f"| {' | '.join(line)} |\n" for line in cells]
    return "".join([head, "|" + "---|" * len(columns) + "\n", *rows])


def digits(value: float | None, scale: float = 1.0) -> str | None:
    """Three significant digits at least, without an exponent."""
    if value is None:
        return None
    value *= scale
    return f"{value:,.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):g}"


def percent(share: float | None) -> str | None:
    """A share between 0 and 1."""
    return None if share is None else f"{100 * share:.2g} %"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
