"""Runs what the paper reports, several seeds of it, scores it as the paper does and as the field does, and writes the README's table.

    python scripts/reproduce.py cifar10                           # also stl10, table2, table2_small, adam_settings
    python scripts/reproduce.py table2 --only wgan_gp --seeds 0   # one row, one seed
    python scripts/reproduce.py cifar10 --scale 0.001             # a trial: a thousandth of the steps and of the samples
    python scripts/reproduce.py cifar10 -- data.download=true     # overrides of `sngan train` for all runs
    python scripts/reproduce.py cifar10 --table                   # the table alone, from what is recorded

It says first how long it will take, from a few real steps on this device. Started again it goes on where it stopped: what is recorded is
skipped, runs resume. Runs that a sweep has trained (`sngan train -m experiment=… seed=0,1,2`) are found and only scored. A trial leaves
the README alone unless `--readme FILE` says where its table goes.
"""

from __future__ import annotations

import argparse
import io
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

from reproduction_records import ROOT, Records, Row, Table, between, markdown, tables

import sngan
from sngan import Config, UserError
from sngan.data.images import Source
from sngan.devices import describe, resolve
from sngan.errors import Interrupted
from sngan.files import read_json, read_lines, replace
from sngan.provenance import commit

LEAST = 64
"""Images that a score of a trial has at least."""


def main() -> None:
    """Checks, measures and says the time, runs what is missing, and writes records and table after each run."""
    args = arguments()
    table: Table = tables()[args.what]
    records = Records(args.results / f"reproduce_{args.what}.json")
    if args.readme:
        between(args.readme.read_text(), args.what)  # before the work
    if any(word.startswith("protocol=") for word in args.overrides):
        raise UserError(f"protocol: the runs are scored by {' and '.join(table.protocols)}; leave protocol=… out")
    if not args.table:
        jobs = [Job(args, table, row, seed) for row in chosen(table, args.only) for seed in args.seeds]
        todo = [job for job in jobs if (records.find(job.overrides) or {"error": "not there"})["error"]]
        print(f"{args.what}: {len(jobs)} runs, {len(jobs) - len(todo)} of them recorded in {records.path}")
        if todo:
            announce(todo)
        for number, job in enumerate(todo, start=1):
            print(f"\n[{number} of {len(todo)}] {job.row.name}, seed {job.seed}: {job.run}", flush=True)
            records.add(job.done(shlex.join(args.words)))
            write(args.readme, table, records)
    print(f"\n{write(args.readme, table, records)}")
    failed = [run for run in records.runs if run["error"]]
    if failed:
        raise UserError(f"{len(failed)} runs failed; {records.path} says why, and the same command tries them again")


def chosen(table: Table, only: Sequence[str]) -> list[Row]:
    """The rows of these names, or with such a word in it; all if there are none."""
    rows = [row for row in table.rows if not only or {row.name, *row.name.split()} & set(only)]
    if not rows:
        raise UserError(f"--only {' '.join(only)}: no such row; the rows are {', '.join(row.name for row in table.rows)}")
    return rows


class Job:
    """A run and its scores: the configs that it is trained and scored by, one a protocol, which differ in nothing else."""

    def __init__(self, args: argparse.Namespace, table: Table, row: Row, seed: int):
        self.row, self.seed = row, seed
        smaller = scaled(args.scale, sngan.compose([*row.overrides, *args.overrides]))
        self.overrides = [*row.overrides, f"seed={seed}", *smaller, *args.overrides]
        self.configs: list[Config] = []
        self.protocols = table.protocols
        for protocol in self.protocols:
            words = [*self.overrides, f"protocol={protocol}", *(table.paper if protocol == "paper" else ())]
            self.configs.append(sngan.compose([*words, *scaled_scores(args.scale, sngan.compose(words))]))
        self.config = self.configs[-1]
        self.run: Path = self.config.run_dir

    def steps_left(self) -> int:
        """From the newest checkpoint on."""
        steps = [int(path.name.removeprefix("step-")) for path in (self.run / "checkpoints").glob("step-*")]
        return self.config.steps - max(steps, default=0)

    def samples_to_score(self) -> int:
        """How many the extractor will see at most: those of quick scores, and twice those of each protocol, for the last and the best."""
        quick, every = self.config.quick, self.config.evaluate_every
        protocols = [config.protocol for config in self.configs if config.protocol]
        return sum(2 * p.n * p.draws for p in protocols) + (quick.n * self.steps_left() // every if quick and every else 0)

    def done(self, command: str) -> dict[str, Any]:
        """Trains the run, or continues it, and takes what scores are missing; the record of it, which says why if that fails."""
        error, scores = None, {}
        try:
            for protocol, config in zip(self.protocols, self.configs, strict=True):
                scores[protocol] = sngan.train(config).scores
        except UserError as why:
            error = str(why)
            print(f"failed: {error}", file=sys.stderr)
        device = resolve(self.config.device)
        return {
            "row": self.row.name,
            "seed": self.seed,
            "overrides": self.overrides,
            "run": str(self.run),
            "command": f"python scripts/reproduce.py {command}",
            "commit": commit(),
            "date": date.today().isoformat(),
            "device": describe(device),
            "steps": self.config.steps,
            "seconds": (read_json(self.run / "result.json") or {}).get("seconds"),
            "error": error,
            "scores": scores,
            "config": self.config.model_dump(mode="json"),
            "records": [line for line in read_lines(self.run / "metrics.jsonl") if line.get("role") == "full"],
        }


def scaled(scale: float, config: Config) -> list[str]:
    """Overrides that shrink a run: its steps, and what happens every so many of them."""
    keys = ("steps", "sample_every", "save_every", "evaluate_every", "log_every") if scale < 1.0 else ()
    return [f"{key}={max(round(getattr(config, key) * scale), 1)}" for key in keys if getattr(config, key)]


def scaled_scores(scale: float, config: Config) -> list[str]:
    """Overrides that shrink scores: their samples and their real images."""
    words = []
    for key, protocol in (("protocol", config.protocol), ("quick", config.quick)) if scale < 1.0 else ():
        if protocol:
            source: Source = sngan.build("data", config.data)
            there = source.count(protocol.reference)
            n_reference = max(round((protocol.n_reference or there) * scale), LEAST)
            words += [f"{key}.n={max(round(protocol.n * scale), LEAST)}", f"{key}.n_reference={min(n_reference, there)}"]
    return words


def announce(todo: Sequence[Job]) -> None:
    """Says how long the jobs will take: their steps at the speed of a few real ones, and their scores at that of a small one."""
    print(f"measuring a few steps of each row on {resolve(todo[0].config.device)} …", flush=True)
    training = scoring = 0.0
    for row in dict.fromkeys(job.row.name for job in todo):
        jobs = [job for job in todo if job.row.name == row]
        per_step, per_image = speed(jobs[0])
        steps = per_step * sum(job.steps_left() for job in jobs)
        scores = per_image * sum(job.samples_to_score() for job in jobs)
        training, scoring = training + steps, scoring + scores
        print(
            f"  {row}: {1000 * per_step:.4g} ms a step, {len(jobs)} runs of {jobs[0].config.steps:,} steps: {clock(steps)}, scores {clock(scores)}"
        )
    total = f"{clock(training + scoring)}: {clock(training)} of training and {clock(scoring)} of scoring"
    print(f"expected: {total}, and once for each data set the features of its real images", flush=True)


def speed(job: Job) -> tuple[float, float]:
    """Seconds a step of a job, and seconds an image of its scores, from a small run that leaves nothing."""
    steps = 60 if resolve(job.config.device).type == "cuda" else 3
    small = [
        f"steps={steps}", "log_every=1", "sample_every=0", "evaluate_every=0", "save_every=0", "protocol=standard",
        f"protocol.n={2 * LEAST}", "protocol.metrics=[is]", "protocol.splits=1", "ema.recalibrate=0",
    ]  # fmt: skip
    keys = {word.partition("=")[0] for word in small}
    kept = [word for word in job.overrides if word.partition("=")[0] not in keys]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        config = sngan.compose([*kept, *small]).model_copy(update={"run_dir": Path(folder, "run")})
        sngan.train(config)
        lines = read_lines(config.run_dir / "scalars.jsonl")
        (scored,) = (line for line in read_lines(config.run_dir / "metrics.jsonl") if line["role"] == "full")
    images_per_s = statistics.median(line["images_per_s"] for line in lines[len(lines) // 2 :])  # the first ones warm up
    return config.d_steps * config.batch / images_per_s, scored["seconds"] / (2 * LEAST)


def write(readme: Path | None, table: Table, records: Records) -> str:
    """The table, after it is written where it belongs."""
    text = markdown(table, records)
    if readme:
        before, after = between(readme.read_text(), table.name)
        replace(readme, f"{before}\n{text}\n{after}")
    return text


def clock(seconds: float) -> str:
    """In the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def arguments() -> argparse.Namespace:
    """Those of the command line; overrides come after --."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.usage = "%(prog)s WHAT [OPTIONS] [-- KEY=VALUE ...]"
    parser.add_argument("what", choices=tables(), metavar="WHAT", help=", ".join(tables()))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows of the table, by their names or a word of them")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks steps and samples for a trial")
    parser.add_argument("--results", type=Path, metavar="DIR", help="of the records: scripts/results, of a trial runs/reproduce")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="whose table is replaced: README.md, of a trial none")
    parser.add_argument("--table", action="store_true", help="writes the table from what is recorded, and runs nothing")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:cut])
    if not 0.0 < args.scale <= 1.0:
        parser.error(f"--scale {args.scale}: more than 0, and 1 at most")
    trial = args.scale < 1.0
    args.words, args.overrides = words, words[cut + 1 :]
    args.results = args.results or (Path("runs", "reproduce") if trial else ROOT / "scripts" / "results")
    args.readme = args.readme or (None if trial else ROOT / "README.md")
    return args


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except Interrupted as stop:
        print(f"interrupted by {stop}; the same command goes on from there", file=sys.stderr)
        sys.exit(128 + stop.signum)
