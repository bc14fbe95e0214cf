"""The small files of a run folder, as their readers need them: the keys that these use are checked, others are ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sngan.errors import UserError
from sngan.files import MOST_STEPS, read_lines, read_object
from sngan.runs import earlier

Time = Annotated[float, Field(ge=0, le=2**40)] | None
"""Seconds since 1970."""


class Read(BaseModel):
    """Values from a file: the keys that its readers need; others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Baseline(Read):
    """The real-data baseline: the scores of real images."""

    n: int
    split: str
    scores: dict[str, float]
    deviations: dict[str, float] = {}


class Scalars(Read):
    """A line of `scalars.jsonl`; its other keys are numbers."""

    step: int
    time: Time = None
    sigma: dict[str, float] = {}


class Record(Read):
    """A line of `metrics.jsonl`: scores, and how they were taken."""

    step: int
    time: Time = None
    scores: dict[str, float]
    deviations: dict[str, float] = {}
    by: str = ""
    role: str | None = None
    weights: str = ""
    batch_norm: str = ""
    protocol: dict[str, Any] = {}
    reference: dict[str, Any] = {}
    extractor: dict[str, Any] = {}
    floor: Baseline | None = None
    device: str = ""
    seconds: float = 0.0
    versions: dict[str, str] = {}
    file: str = "metrics.jsonl"
    line: int | None = None
    """The line number in the file."""

    @property
    def place(self) -> str:
        """Its place in the run folder."""
        return self.file if self.line is None else f"{self.file}, line {self.line}"


class Session(Read):
    """One session of a run."""

    device: str = ""
    versions: dict[str, str] = {}
    from_step: Annotated[int, Field(ge=0, lt=MOST_STEPS)] = 0
    config: dict[str, Any] | None = None
    seconds: float | None = None
    rollbacks: list[int] = []
    """The steps to which it has gone back, because a loss was not finite."""


class Sessions(Read):
    """`run.json`."""

    sessions: list[Session] = []


class Result(Read):
    """What a session left in `result.json` when it ended."""

    status: str
    error: str | None = None
    step: int = 0
    seconds: float | None = None
    scores: dict[str, dict[str, Any]] = {}
    config: dict[str, Any] = {}


Kind = TypeVar("Kind", bound=Read)


def checked(kind: type[Kind], path: Path, values: Any) -> Kind:
    """The values of a file as `kind`; `UserError` names the file if they do not have that form."""
    try:
        # through JSON, where strict still reads an int as a float
        return kind.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not as sngan writes it ({where}: {first['msg'].lower()}); mend or remove it") from None


def read_result(path: Path) -> dict[str, Any] | None:
    """What `result.json` holds, None where there is none; `UserError` if it is damaged."""
    found = read_object(path)
    if found is not None:
        for record in checked(Result, path, found).scores.values():
            checked(Record, path, earlier.record(record))
        if found.get("quick") is not None:
            checked(Record, path, found["quick"])
    return found


def read_sessions(path: Path) -> list[dict[str, Any]]:
    """The sessions in `run.json`; `UserError` if it is damaged."""
    found = read_object(path) or {}
    checked(Sessions, path, found)
    sessions: list[dict[str, Any]] = found.get("sessions", [])
    return sessions


def read_scalars(path: Path) -> list[dict[str, Any]]:
    """The lines of `scalars.jsonl`; `UserError` names one that is damaged."""
    return [_line(Scalars, path, number, line) for number, line in enumerate(read_lines(path), start=1)]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; `UserError` names one that is damaged."""
    return [_line(Record, path, number, line) for number, line in enumerate(read_lines(path), start=1)]


def _line(kind: type[Read], path: Path, number: int, line: dict[str, Any]) -> dict[str, Any]:
    checked(kind, path.with_name(f"{path.name}, line {number},"), line)
    return line


def better(name: str, value: float, best: float) -> bool:
    """Whether a score beats the best so far: distances by being smaller, the others by being larger."""
    return value < best if name.startswith(("fid_", "fd_", "kid_", "kd_")) else value > best
