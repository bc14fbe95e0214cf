"""The outcomes of a sweep's jobs, and their table."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sngan.processes import is_running
from sngan.runs.folder import RESULT
from sngan.runs.records import read_result
from sngan.runs.result import Status


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job. Its `float` is the job's value for a sweeper that optimises one."""

    job: int
    overrides: list[str]
    status: Status | Literal["running", "not begun", "killed"]
    folder: str | None = None
    error: str | None = None
    value: float | None = None
    host: str = ""
    pid: int = 0

    def __float__(self) -> float:
        if self.value is None:
            raise ValueError(f"the job is {self.status} and has no score")
        return self.value

    def is_gone(self) -> bool:
        """Whether its process was on this machine and has ended."""
        return self.host == socket.gethostname() and not is_running(self.pid)


def summary(outcomes: list[Outcome]) -> str:
    """A line for each job: the overrides that differ between jobs, its status, the score of its last checkpoint or its error, and its folder."""
    common = set.intersection(*(set(outcome.overrides) for outcome in outcomes))
    rows = []
    for outcome in outcomes:
        result = (read_result(Path(outcome.folder, RESULT)) if outcome.folder else None) or {}
        score = next(iter(result.get("scores", {}).get("last", {}).get("scores", {}).items()), None)
        rows.append(
            (
                " ".join(word for word in outcome.overrides if word not in common) or f"job {outcome.job}",
                outcome.status,
                outcome.error.splitlines()[0] if outcome.error else f"{score[0]} {score[1]:.4g}" if score else "",
                outcome.folder or "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    widths[2] = max((len(row[2]) for row, outcome in zip(rows, outcomes, strict=True) if not outcome.error), default=0)
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in dict.fromkeys(o.status for o in outcomes)}
    lines = ["", f"{len(outcomes)} job{'s' * (len(outcomes) > 1)}: {', '.join(f'{n} {status}' for status, n in counts.items())}"]
    for row in rows:
        lines.append("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join(lines)
