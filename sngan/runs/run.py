"""Run folders as a report reads them: what a run was, how far it came and what it scored.

Nothing here builds a network or asks whether this version could train the config, so that a report also shows runs that failed, are
going on, or were made by another version. Files may be a stranger's: their form is checked, their text is never trusted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sngan.errors import UserError
from sngan.files import read_object, refuse_link
from sngan.runs import earlier
from sngan.runs.checkpoint import steps_saved
from sngan.runs.records import Record, Result, Session, Sessions, better, checked, read_metrics, read_result, read_scalars


@dataclass(frozen=True)
class Run:
    """A run folder that has been read."""

    path: Path
    config: dict[str, Any]
    status: str
    """finished, interrupted, failed; unfinished where no session has said how it ended."""
    error: str | None
    step: int
    seconds: float | None
    """The seconds of training and scoring, over all sessions."""
    sessions: Sequence[Session]
    scalars: Sequence[dict[str, Any]]
    records: Sequence[Record]
    grids: dict[int, Path]
    """Pictures of samples, by step."""
    best_step: int | None
    """The step of the best quick score."""

    @property
    def seed(self) -> Any:
        """The seed in the config; None if there is none."""
        return self.config.get("seed")

    @property
    def steps(self) -> int | None:
        """The steps that the config asks for."""
        steps = self.config.get("steps")
        return steps if isinstance(steps, int) else None

    @property
    def is_complete(self) -> bool:
        """Whether the run has trained for all its steps."""
        return self.steps is not None and self.step >= self.steps

    def at(self, step: int | None, role: str) -> Record | None:
        """The last record of a role at a step."""
        return next((r for r in reversed(self.records) if r.step == step and r.role == role), None)

    def last_full(self) -> Record | None:
        """The full score of the most steps."""
        full = [r for r in self.records if r.role == "full"]
        return max(full, key=lambda r: r.step) if full else None


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The run folders at and below the paths, each once, `seed2` before `seed10`; `UserError` for a path without any."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; give the folder of a run or of several, such as runs/shapes")
        below = list(_runs_below(path))
        if not below:
            raise UserError(
                f"{path} holds no run; a run is a folder with config.json and run.json, such as runs/shapes/default/seed0"
            )
        for run in below:
            found.setdefault(run.resolve(), run)
    return sorted(found.values(), key=lambda run: re.sub(r"\d+", lambda m: m[0].zfill(20), str(run)))


def _runs_below(path: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(path):
        if {"config.json", "run.json"} <= set(files) or "result.json" in files:
            names.clear()
            yield Path(folder)
        names[:] = [name for name in names if not name.startswith(".")]


def read_run(path: Path) -> Run:
    """What the folder holds; `UserError` names a file that is damaged."""
    said = read_result(path / "result.json")
    result = None if said is None else checked(Result, path / "result.json", said)
    config = earlier.config(read_object(path / "config.json") or (result.config if result else {}))
    sessions = checked(Sessions, path / "run.json", read_object(path / "run.json") or {}).sessions
    scalars = read_scalars(path / "scalars.jsonl")
    records = [
        checked(Record, path / "metrics.jsonl", {**earlier.record(line), "line": number})
        for number, line in enumerate(read_metrics(path / "metrics.jsonl"), start=1)
    ]
    if result and not records:  # a result that was copied without its run
        records = [
            checked(Record, path / "result.json", {**earlier.record(line), "file": "result.json"})
            for line in result.scores.values()
        ]
    times = [session.seconds for session in sessions if session.seconds is not None]
    steps = [line["step"] for line in scalars]
    return Run(
        path=path,
        config=config,
        status=result.status if result else "unfinished",
        error=result.error if result else None,
        step=max([result.step if result else 0, *steps, *steps_saved(path / "checkpoints")]),
        seconds=result.seconds if result else sum(times) if times else None,
        sessions=sessions,
        scalars=scalars,
        records=records,
        grids=grids(path / "samples"),
        best_step=_best_step(result, records),
    )


def _best_step(result: Result | None, records: Sequence[Record]) -> int | None:
    """The step of the best checkpoint: as the run says, else by the first metric of its quick scores; the earlier of equals."""
    said = result.scores.get("best", {}).get("step") if result else None
    if isinstance(said, int):
        return said
    best: Record | None = None
    for record in (r for r in records if r.role == "quick" and r.scores):
        name = next(iter(record.scores))
        if best is None or (name in best.scores and better(name, record.scores[name], best.scores[name])):
            best = record
    return best.step if best else None


def grids(folder: Path) -> dict[int, Path]:
    """The pictures of samples in a folder, by step, in order; `UserError` if the folder is a link."""
    refuse_link(folder)
    found = {int(m[1]): path for path in folder.glob("step-*.png") if (m := re.fullmatch(r"step-([0-9]{1,18})\.png", path.name))}
    return dict(sorted(found.items()))
