"""The folder of a run: what it holds, and whether a command may continue it.

runs/<name>/<variant>/seed0/
    config.json     what was asked for         run.json       each session: where it began, on what, with which software
    scalars.jsonl   one line every log_every   metrics.jsonl  one line a score
    samples/        checkpoints/               TensorBoard events
    result.json     how the last session ended: none while a run goes on, or after a kill
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from sngan.config import FREE, Config
from sngan.data.images import ImageSpec, Source
from sngan.errors import DamagedError, UserError
from sngan.files import lock, read_object, refuse_link, write_json
from sngan.runs import earlier
from sngan.runs.checkpoint import Checkpoint, newest_whole, set_aside, steps_saved
from sngan.runs.records import read_sessions

log = logging.getLogger(__name__)

RESULT, TRACEBACK = "result.json", "traceback.txt"


class RunFolder:
    """A run's folder, opened by one process at a time.

    Opening decides whether the run starts or continues: `checkpoint` is what to continue from, or None. Raises `UserError`, with nothing
    written, when the folder cannot be written, is in use, holds a run of another config (the differing keys are named), or holds a run
    at all though `resume=never`.
    """

    def __init__(self, config: Config):
        self.path = config.run_dir
        self.checkpoints = self.path / "checkpoints"
        self.config = config
        self._created: list[Path] = []
        self._begun = False
        self._listing: str | None = None
        guard = self.path / ".lock"
        try:
            self._created = [path for path in (guard, self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in (self.path / "samples", self.checkpoints):
                refuse_link(folder)
                if folder.exists() and not folder.is_dir():
                    raise NotADirectoryError(None, f"{folder.name} is a file")
            held = lock(guard)
        except OSError as error:
            self._remove_created()
            raise UserError(f"run_dir={self.path} cannot be written ({error.strerror}); give another run_dir=DIR") from None
        if held is None:
            raise UserError(f"run_dir={self.path} is in use by another process; wait for it, or give another run_dir=DIR or seed=N")
        self._lock = held
        try:
            self.checkpoint: Checkpoint | None = newest_whole(self.checkpoints)
            self._check_config()
        except UserError:
            self.close()
            raise

    def check_data(self, source: Source, spec: ImageSpec) -> None:
        """Raises `UserError` if the run would go on with other images, classes or sizes than it began with; `resume=force` lets the first pass."""
        self._listing = source.listing
        if self.checkpoint is None:
            return
        before = self.checkpoint.spec
        if before != spec:
            raise UserError(
                f"run_dir={self.path} holds a run on images of {_said(before)}, and data={self.config.data.name} now has {_said(spec)};\n"
                "give the data as they were (data.channels, data.resolution and data.renumber=false say how they are read), or another run_dir=DIR"
            )
        known = next((session["data"] for session in reversed(read_sessions(self.path / "run.json")) if "data" in session), None)
        unlike = "has other pictures or classes than when the run began" if known and known != source.listing else None
        unlike = (
            unlike
            if known
            else source.unlike_earlier and f"was read by an earlier version of sngan; this one {source.unlike_earlier}"
        )
        if unlike and self.config.resume != "force":
            raise UserError(
                f"run_dir={self.path} holds a run whose data={self.config.data.name} {unlike}\n"
                "give the folder as it was, or another run_dir=DIR, or go on with what is there by resume=force"
            )

    def check_space(self, checkpoint_size: int) -> None:
        """Raises `UserError` unless the disk has room for the checkpoints that stay at a time, of so many bytes each."""
        keep, saved = self.config.keep, len(steps_saved(self.checkpoints))
        milestones = self.config.steps // keep.every if keep.every else 0
        n = keep.last + milestones + 2 - saved  # the best, and the one that is being written
        free = shutil.disk_usage(self.path).free
        if n * checkpoint_size > free:
            raise UserError(
                f"run_dir={self.path}: {n} checkpoints of {checkpoint_size / 1e6:.0f} MB are to come and {free / 1e6:.0f} MB are free; "
                "make room, keep fewer (keep.last, keep.every), or give another run_dir=DIR"
            )

    def begin(self, session: dict[str, Any]) -> None:
        """Writes the config, adds this session to run.json, and removes the result of the one before.

        A session also holds its config where it is another one than that of the session before.
        """
        self._begun = True
        if self._listing is not None:
            session = {**session, "data": self._listing}
        set_aside(self.checkpoints, session["from_step"])
        config = self.config.model_dump(mode="json")
        self._sessions = read_sessions(self.path / "run.json")
        if config != next((before["config"] for before in reversed(self._sessions) if "config" in before), None):
            session = {**session, "config": config}
        self._sessions.append(session)
        self._started = time.monotonic()
        write_json(self.path / "config.json", config)
        for name in (RESULT, TRACEBACK):
            (self.path / name).unlink(missing_ok=True)
        self.seconds()

    def rollbacks(self) -> list[int]:
        """The steps to which the run's sessions have gone back, because a loss was not finite."""
        return [step for session in self._sessions for step in session.get("rollbacks", [])]

    def note_rollback(self, step: int) -> int:
        """Notes in run.json that the run goes back to a step; gives how often it has."""
        self._sessions[-1]["rollbacks"] = [*self._sessions[-1].get("rollbacks", []), step]
        self.seconds()
        return len(self.rollbacks())

    def configs(self) -> list[tuple[int, dict[str, Any]]]:
        """The configs of the run's sessions, each with the step it holds from."""
        return [(session.get("from_step", 0), session["config"]) for session in self._sessions if "config" in session]

    def seconds(self) -> float:
        """The seconds of all sessions so far; also written to run.json, so that a kill loses no more of them than of the training."""
        self._sessions[-1]["seconds"] = round(time.monotonic() - self._started, 3)
        write_json(self.path / "run.json", {"sessions": self._sessions}, sealed=True)
        return round(sum(float(session.get("seconds", 0.0)) for session in self._sessions), 3)

    def close(self) -> None:
        """Releases the folder for other processes. Removes what opening it created, if the run did not begin."""
        if not self._begun:
            self._remove_created()
        self._lock.release()
        if not self._begun:
            self._remove_created()  # what could not go while it was locked (Windows)

    def _remove_created(self) -> None:
        for path in list(self._created):
            with suppress(OSError):  # not there, not empty any more, or open
                path.unlink() if path.name == ".lock" else path.rmdir()
                self._created.remove(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_config(self) -> None:
        before = self._config_before()
        if before is None:
            return
        if self.config.resume == "never":
            raise UserError(f"run_dir={self.path} already holds a run and resume=never; give another run_dir=DIR, name=… or seed=N")
        changes = differences(earlier.config(before), self.config.model_dump(mode="json"))
        if self.config.optimizer.decay == "none":
            changes = [change for change in changes if not change.startswith("steps:")]  # a run without a schedule may go on
        if changes and self.config.resume != "force":
            raise UserError(
                f"run_dir={self.path} holds a run with another config: {'; '.join(changes)}\n"
                "give another run_dir=DIR or name=…, or continue it with the new config by resume=force"
            )

    def _config_before(self) -> dict[str, Any] | None:
        """The run's config so far; where its file is lost or damaged, that of the newest whole checkpoint."""
        try:
            before = read_object(self.path / "config.json")
        except DamagedError as error:
            if self.checkpoint is None:
                raise
            log.warning(f"{error.what}; the config of {self.checkpoint.path} is taken")
            before = None
        if before is None and self.checkpoint is not None:
            before = read_object(self.checkpoint.file("config.json"))
        return before


def _said(spec: ImageSpec) -> str:
    return f"{spec.channels} x {spec.size} px" + (f" in {spec.n_classes} classes" if spec.n_classes else "")


def differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "", *, free: set[str] = FREE) -> list[str]:
    """The keys of two configs whose values differ, each as `key: before -> after`; those in `free` are left out."""
    changes = []
    for name in sorted(before.keys() | after.keys()):
        key, old, new = prefix + name, before.get(name), after.get(name)
        if key in free or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            changes += differences(old, new, f"{key}.", free=free)
        else:
            changes.append(f"{key}: {json.dumps(old)} -> {json.dumps(new)}")
    return changes
