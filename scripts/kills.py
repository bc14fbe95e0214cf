"""Runs that are killed and go on, beside runs that never were: what they leave must be the same, bit for bit.

    python scripts/kills.py                  # 240 kills of one process and 12 of one rank of two, some 15 minutes on one core
    python scripts/kills.py --kills 20 --ranks 0

A run is killed (SIGKILL) by one of these, up to three times, and then left to end:

    before    an operation on a file of its folder: each open, rename, removal and new folder of a whole run is such a place, once at least
    torn      the same, after half of what was written last has been cut off, as a power cut leaves it
    time      at a random moment

Python's audit events give the places, so nothing of the program is replaced. Compared are the tensors of all checkpoints and their hashes, the
lines of scalars and scores without their times, the samples, result.json, the names of all files, and what TensorBoard reads: tags, steps,
values and pictures. The record is replaced after each run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from record_head import head

from sngan import Config, compose, train
from sngan.errors import Interrupted
from sngan.files import read_json, read_lines, write_json

ROOT = Path(__file__).resolve().parents[1]
RUN = Path("run")
SHRUNK = [
    "steps=12", "batch=8", "g_batch=8", "generator.widths=[16,8,8,8]", "discriminator=cnn", "discriminator.widths=[8,8,8]",
    "optimizer.decay=linear", "data.n_train=64", "data.n_test=16", "ema.recalibrate=2", "log_every=1", "sample_every=4",
    "save_every=3", "keep.last=2", "keep.every=6", "evaluate_every=5", "quick.n=32", "protocol.n=32", "device=cpu", f"run_dir={RUN}",
]  # fmt: skip
GAMES = {
    "default": [],
    "conditional": ["conditional=true", "generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet",
                    "discriminator.widths=[8,8]", "discriminator.downsample=[true,false]", "data.flip=true"],
    "spectral in both": ["generator.normalization=spectral", "discriminator.scale=learned", "discriminator.iterate_per=forward"],
    "penalty": ["discriminator.normalization=layer", "regularizer=gradient_penalty", "precision=bf16"],
}  # fmt: skip
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
"""The audit events of changes to files (of `open` those for writing)."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=240, metavar="N")
    parser.add_argument("--ranks", type=int, default=12, metavar="N", help="kills of one rank of two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "scripts" / "results" / "kills.json", metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("torch.utils.tensorboard", "torch_fidelity"):
        importlib.import_module(name)  # once, before the processes part

    draw = random.Random(args.seed)
    record: dict[str, Any] = {
        **head("kills.py", "runs killed by SIGKILL, gone on with and ended, compared with runs that never were"),
        "seed": args.seed,
        "runs": 0,
        "kills": {},
        "places": {},
        "different": [],
    }
    kills: Counter[str] = Counter()
    places: Counter[str] = Counter()

    def note(found: dict[str, Any], differing: list[str]) -> None:
        record["runs"] += 1
        record["kills"], record["places"] = dict(kills), dict(sorted(places.items()))
        if differing:
            record["different"].append({**found, "files": differing})
        write_json(args.out, record)
        print(f"{sum(kills.values())} kills, {record['runs']} runs, {len(record['different'])} different", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        whole = {game: Path(folder, "whole", game) for game in GAMES}
        operations = {game: _train(whole[game], GAMES[game], seen=[]) for game in GAMES}
        to_come = [(game, k) for game in GAMES for k in range(len(operations[game]))]
        draw.shuffle(to_come)
        while sum(kills.values()) < args.kills:
            game = draw.choice(list(GAMES)) if not to_come else to_come[-1][0]
            broken = Path(folder, f"{record['runs']}")
            done = []
            for _ in range(draw.randint(1, 3)):
                kind = draw.choice(["before", "before", "torn", "time"])
                if kind == "time":
                    place = _train(broken, GAMES[game], seconds=draw.uniform(0.0, 2.0))
                else:
                    k = to_come.pop()[1] if to_come and to_come[-1][0] == game else draw.randrange(len(operations[game]))
                    place = _train(broken, GAMES[game], at=k, tear=kind == "torn")
                if place is None:  # it ended first
                    break
                done.append([kind, place])
                kills[kind] += 1
                places[place] += 1
            _train(broken, GAMES[game])
            note({"game": game, "kills": done}, differences(whole[game] / RUN, broken / RUN))
        for i in range(args.ranks):
            two, broken = Path(folder, "two ranks"), Path(folder, f"rank {i}")
            if not two.exists():
                _train_on_two(two)
            rank = i % 2
            while _train_on_two(broken, kill=rank, seconds=draw.uniform(0.0, 4.0)):
                kills[f"rank {rank} of two"] += 1
                if draw.random() < 0.5:
                    break
            _train_on_two(broken)
            note({"game": "two ranks", "kills": rank}, differences(two / RUN, broken / RUN))
    return 1 if record["different"] else 0


def _train(folder: Path, game: list[str], **how: Any) -> Any:
    """Trains, or goes on, in a process of its own, and kills it as `how` says.

    Gives the place of the kill, None if the run ended first; with `seen`, the places that were passed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _config(*game)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.chdir(folder)
        os.environ["SNGAN_CACHE"] = str(folder.parent / "cache")
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 1
        try:
            sys.addaudithook(_Watch(lambda said: os.write(writer, f"{said}\n".encode()), **how))
            train(_config(*game))
            code = 0
        except Interrupted:
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    if "seconds" in how:
        time.sleep(how["seconds"])
        os.kill(pid, signal.SIGKILL)  # of a process that has ended but is not waited for: nothing
    said = os.fdopen(reader).read().split("\n")[:-1]
    status = os.waitpid(pid, 0)[1]
    if "seen" in how:
        assert status == 0, (folder / "output.txt").read_text()
        return said
    if os.WIFSIGNALED(status):
        return "at random" if "seconds" in how else said[-1]
    assert status == 0, (folder / "output.txt").read_text()
    return None


@cache
def _config(*game: str) -> Config:
    return compose([*SHRUNK, *game])


class _Watch:
    """An audit hook that tells the operations on the run's files, or ends the process before the one of a number."""

    def __init__(
        self,
        tell: Callable[[str], object],
        *,
        seen: list[str] | None = None,
        at: int | None = None,
        tear: bool = False,
        seconds: float | None = None,
    ):
        self.tell, self.seen, self.at, self.tear = tell, seen, at, tear
        self.n = 0
        self.written: tuple[Path, int] | None = None
        self.busy = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or self.busy or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = Path(os.fsdecode(arguments[0]))
        inside = RUN in path.parents or path == RUN or RUN.absolute() in path.parents
        if not inside or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        self.busy = True
        try:
            name = path.name if "tfevents" not in path.name else "events"
            if self.seen is not None:
                self.tell(f"{event} {name}")
            elif self.n == self.at:
                self.tell(f"{event} {name}")
                if self.tear and self.written is not None:
                    self._cut(*self.written)
                os.kill(os.getpid(), signal.SIGKILL)
            self.n += 1
            if event == "open":
                self.written = path, path.stat().st_size if path.exists() else 0
        finally:
            self.busy = False

    def _cut(self, path: Path, before: int) -> None:
        """Half of what was written last is lost."""
        if path.exists() and path.stat().st_size > before:
            os.truncate(path, (before + path.stat().st_size) // 2)


def _train_on_two(folder: Path, *, kill: int | None = None, seconds: float = 0.0) -> bool:
    """The default game on two ranks; whether the rank to be killed was killed, so many seconds after it began."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SNGAN_CACHE": str(folder.parent / "cache")}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "sngan", "train", *SHRUNK]
    with Path(folder, "output.txt").open("a") as output:
        job = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        if kill is not None:
            started = None
            while job.poll() is None and started is None:
                started = next(_ranks(job.pid, kill), None)
                time.sleep(0.02)
            until = time.monotonic() + seconds
            while (folder / RUN / "run.json").exists() is False and job.poll() is None:
                time.sleep(0.02)
                until = time.monotonic() + seconds
            time.sleep(max(0.0, until - time.monotonic()))
            if started is not None and job.poll() is None:
                os.kill(started, signal.SIGKILL)
        code = job.wait()
    assert code == 0 or kill is not None, (folder / "output.txt").read_text()
    return code != 0


def _ranks(parent: int, rank: int) -> Iterator[int]:
    """The process of a rank below torchrun."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_child = f"PPid:\t{parent}\n" in (place / "status").read_text()
            if is_child and f"\0RANK={rank}\0".encode() in (place / "environ").read_bytes():
                yield int(place.name)
        except OSError:
            continue


def differences(whole: Path, broken: Path) -> list[str]:
    """What differs of two run folders."""
    a, b = left_by(whole), left_by(broken)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def left_by(run: Path) -> dict[str, Any]:
    """The content of each file of a run, as far as it does not depend on the time."""
    content: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_dir() or name == ".lock":
            continue
        if "tfevents" in name:
            content["TensorBoard"] = _events(run)
        elif path.suffix == ".jsonl":
            content[name] = [_timeless(line) for line in read_lines(path)]
        elif name == "result.json":
            content[name] = _timeless(read_json(path))
        elif name == "run.json":
            content[name] = [session["config"] for session in read_json(path)["sessions"] if "config" in session]
        else:
            content[name] = path.read_bytes()
    return content


def _timeless(values: Any) -> Any:
    if isinstance(values, dict):
        return {k: _timeless(v) for k, v in values.items() if k not in ("time", "seconds", "images_per_s")}
    return values


def _events(run: Path) -> dict[str, Any]:
    """What TensorBoard reads of the run, without the curve of the speed."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    tags = read.Tags()
    scalars = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in tags["scalars"] if not tag.endswith("images_per_s")}
    pictures = {tag: [(e.step, e.encoded_image_string) for e in read.Images(tag)] for tag in tags["images"]}
    texts = {tag: [(e.step, e.tensor_proto.SerializeToString()) for e in read.Tensors(tag)] for tag in tags["tensors"]}
    return scalars | pictures | texts


if __name__ == "__main__":
    sys.exit(main())
