"""A long run of tiny steps: whether memory, speed, files and the start of a resumed run stay what they were.

    python scripts/soak.py                   # 20,000 steps and a line of the log for each second one, some ten minutes on one core

Memory is the resident set of the process, speed the steps a second of the lines of the log, both compared between the first and the last
thousand steps after the first. The record also holds the bytes of each file, how long a resumed run takes to its first step, with no lines
and with all of them, and the processor time of a report of 1, 10 and 50 such runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record_head import head

from sngan.files import read_lines, write_json

ROOT = Path(__file__).resolve().parents[1]
SHRUNK = [
    "batch=8", "g_batch=8", "generator.widths=[16,8,8,8]", "discriminator=cnn", "discriminator.widths=[8,8,8]", "optimizer.decay=none",
    "data.n_train=64", "data.n_test=16", "ema.recalibrate=2", "log_every=2", "sample_every=500", "save_every=500", "evaluate_every=1000",
    "quick.n=32", "protocol=none", "device=cpu", "run_dir=run",
]  # fmt: skip
REPORTED = (1, 10, 50)
WINDOW = 1000
"""Steps whose speed and memory are compared."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, metavar="N")
    parser.add_argument("--out", type=Path, default=ROOT / "scripts" / "results" / "soak.json", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        first = start_up(run, 2)
        memory = train(run, args.steps)
        resumed = start_up(run, args.steps + 2)
        lines = read_lines(run / "scalars.jsonl")
        speeds = {line["step"]: line["images_per_s"] / 8 for line in lines}
        early = [speed for step, speed in speeds.items() if WINDOW < step <= 2 * WINDOW]
        late = [speed for step, speed in speeds.items() if args.steps - WINDOW < step <= args.steps]
        at = {step: max(size for s, size in memory if s <= step) for step in (2 * WINDOW, args.steps)}
        sizes = {path.name.partition(".out")[0]: path.stat().st_size for path in run.iterdir() if path.is_file()}
        for name in ("samples", "checkpoints"):
            sizes[name] = sum(path.stat().st_size for path in (run / name).rglob("*") if path.is_file())
        record: dict[str, Any] = {
            **head(
                "soak.py",
                "a run of tiny steps on one thread; medians of steps a second, the largest resident set so far, bytes of files",
            ),
            "steps": args.steps,
            "log_lines": len(lines),
            "steps_per_s": {f"to {2 * WINDOW}": statistics.median(early), f"to {args.steps}": statistics.median(late)},
            "memory_mb": {f"to {step}": round(size / 1e6, 1) for step, size in at.items()},
            "bytes": sizes,
            "start_up_s": {"of a new run": round(first, 2), f"of a run with {len(lines)} log lines": round(resumed, 2)},
            "report_cpu_s": {str(n): round(report(run, n), 2) for n in REPORTED},
        }
    write_json(args.out, record)
    print(json.dumps({key: record[key] for key in ("steps_per_s", "memory_mb", "bytes", "start_up_s", "report_cpu_s")}, indent=2))
    return 0


def start(run: Path, steps: int) -> subprocess.Popen[str]:
    """A run to so many steps, on one thread, that prints its log."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SNGAN_CACHE": str(run.parent / "cache")}
    command = [sys.executable, "-u", "-m", "sngan", "train", *SHRUNK, f"steps={steps}"]
    return subprocess.Popen(command, cwd=run.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_up(run: Path, steps: int) -> float:
    """Seconds from the command to its first line of the log."""
    began = time.monotonic()
    with start(run, steps) as process:
        assert process.stdout is not None
        took = next(time.monotonic() - began for line in process.stdout if line.startswith("step "))
        for _ in process.stdout:
            pass
    return took


def train(run: Path, steps: int) -> list[tuple[int, int]]:
    """Trains; gives (step, bytes of resident memory) at every line of the log of a hundred."""
    sizes = []
    with start(run, steps) as process:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.split()
            if words[0] == "step" and "/" in words[1] and (step := int(words[1].partition("/")[0])) % 100 == 0:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                sizes.append((step, pages * os.sysconf("SC_PAGE_SIZE")))
    return sizes


def report(run: Path, n: int) -> float:
    """Processor seconds of a report of n copies of a run, images left out."""
    copies = run.parent / f"{n}_runs"
    for i in range(n):
        shutil.copytree(run, copies / f"seed{i}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "sngan", "report", str(copies), f"out={copies}.html", "neighbours=0", "device=cpu"]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(copies)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
