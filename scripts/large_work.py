"""How time and memory of training grow with the batch, with the size of the images and with their number.

    python scripts/large_work.py [--only 'batch *'] [--device cuda] [--out FILE]
    python scripts/large_work.py --quick                      # the same on small sizes, in a minute; only shown unless --out is given

batch        one step of the paper's 32 px ResNet game, with one discriminator update
resolution   the same of the published ResNets at a small batch
pictures     streaming a folder of 32 px PNG files, which are written first and removed afterwards

Each measurement is a process of its own, so that its peak of memory is its own, and is recorded as soon as it is taken. What is
recorded already for this code and device is passed over. Needs Linux, which says what a process holds.

Seconds are medians of n. Beside what a step takes stands what it must: its operations; in memory what backward keeps of forward, the
gradients of the larger network, Adam's moments. `cores` is how many were at work, which is fewer than threads on a machine that is shared.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm, trange

import sngan
from sngan import devices
from sngan.data.images import Source
from sngan.errors import UserError
from sngan.files import read_json, write_json
from sngan.provenance import versions

ROOT = Path(__file__).parents[1]
MEASURED = ["sngan", "configs", "scripts/measure_large_work.py"]
"""What decides the numbers: a record is of the last commit that touched it, whatever else was committed since."""
WORK = {"batch": [64, 128, 256, 512], "resolution": [32, 48, 64, 128], "pictures": [1_000, 20_000, 200_000]}
QUICK = {"batch": [4, 8], "resolution": [32, 64], "pictures": [100, 1_000]}


def main() -> None:
    args = arguments()
    work = QUICK if args.quick else WORK
    wanted = [(what, size) for what in work for size in work[what] if fnmatch(f"{what} {size}", args.only)]
    if not wanted:
        there = ", ".join(f"{what} {size}" for what in work for size in work[what])
        raise UserError(f"--only={args.only}: no such measurement; there are {there}")
    if not Path("/proc/self/status").exists():
        raise UserError("this needs Linux, where /proc says what a process holds")
    out: Path | None = args.out or (None if args.quick else ROOT / "scripts" / "results" / "large_work.json")
    if out and not out.absolute().parent.is_dir():
        raise UserError(f"--out={out}: its folder does not exist; make it first")
    made_by = origin(args.device)
    for what, size in tqdm(wanted, desc="large work", unit="measurement", disable=None):
        if out and is_recorded(out, what, size, made_by):
            tqdm.write(f"{what} {size}: recorded already in {out}")
            continue
        found = in_its_own_process(what, size, args.device)
        tqdm.write(f"{what} {size}: {json.dumps(found)}")
        if out:  # read again, as another may have written meanwhile
            write_json(out, [*(read_json(out) or []), {"what": what, "size": size, **made_by, **found}])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="which measurements: 'pictures *', 'batch 512'")
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON file to add to [scripts/results/large_work.json]")
    return parser.parse_args()


def origin(device: str) -> dict[str, Any]:
    """Date, command, code, machine and software."""
    return {
        "date": date.today().isoformat(),
        "command": shlex.join(["python", "scripts/large_work.py", *sys.argv[1:]]),
        "commit": commit(),
        "device": devices.describe(devices.resolve(device)),  # type: ignore[arg-type]
        "versions": versions(),
    }


def commit() -> str | None:
    """The last one that touched what is measured, with a + where it has changed since; None outside a checkout."""

    def git(*words: str) -> str:
        known = subprocess.run(["git", *words, "--", *MEASURED], cwd=ROOT, capture_output=True, text=True, check=True)
        return known.stdout.strip()

    try:
        return (git("log", "-1", "--format=%h") + ("+" if git("status", "--porcelain") else "")) or None
    except (OSError, subprocess.CalledProcessError):
        return None


def is_recorded(out: Path, what: str, size: int, made_by: dict[str, Any]) -> bool:
    """Whether this was measured before with this very code on this machine."""
    if not made_by["commit"] or made_by["commit"].endswith("+"):
        return False
    wanted = {"what": what, "size": size, "commit": made_by["commit"], "device": made_by["device"]}
    return any(wanted.items() <= record.items() for record in read_json(out) or [])


def in_its_own_process(what: str, size: int, device: str) -> dict[str, Any]:
    """What `measure_large_work.main` finds in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="large_work_") as folder:
        if what == "pictures":
            write_pictures(Path(folder), size)
        command = [sys.executable, "-c", "import measure_large_work; measure_large_work.main()", what, str(size), folder, device]
        done = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"{what} {size}: the process that measured it ended with {done.returncode}; is there memory enough?")
    return json.loads(done.stdout)


def write_pictures(folder: Path, n: int) -> None:
    """PNG files of 1,000 different shapes in ten sub-folders, on the disk and in the system's cache of files."""
    drawn: Source = sngan.build("data", sngan.compose(["data=shapes", "data.n_train=1000"]).data)
    shapes = drawn.load("train")
    files = []
    for i in range(min(n, len(shapes))):
        file = io.BytesIO()
        Image.fromarray(shapes[i][0].permute(1, 2, 0).numpy()).save(file, "PNG")
        files.append(file.getvalue())
    for i in range(10):
        (folder / f"class{i}").mkdir()
    for i in trange(n, desc="writing pictures", unit="file", delay=2, leave=False, disable=None):
        (folder / f"class{i % 10}" / f"{i:07d}.png").write_bytes(files[i % len(files)])
    os.sync()  # or they would be written to the disk while reading is measured


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
