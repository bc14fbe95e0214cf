"""What has been reproduced: the records of finished runs, and the table that the README shows of them. `reproduce.py` is the command."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sngan import UserError
from sngan.config import FREE
from sngan.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
TABULATED = ("is_", "classifier_score_", "fid_", "fd_")
"""How the names of scores begin that the table has a column for."""

Run = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of a table: what is trained, and what others report by the full name of the score."""

    name: str
    overrides: tuple[str, ...]
    published: dict[str, str]


@dataclass(frozen=True)
class Table:
    """What is reproduced together."""

    name: str
    rows: tuple[Row, ...]
    scores: tuple[str, ...]
    note: str
    paper: tuple[str, ...]
    """Overrides of `protocol=paper`."""
    protocols: tuple[str, ...]
    """What each run is scored by, in this order: the field's last, so that a run ends as `sngan train` alone would have left it."""


def tables() -> dict[str, Table]:
    """All that `published.yaml` holds, by name."""
    found = {}
    for name, of in yaml.safe_load((ROOT / "scripts" / "published.yaml").read_text()).items():
        rows = tuple(
            Row(row, tuple(overrides), {score: number for score, number in zip(of["scores"], numbers, strict=True) if number})
            for row, (overrides, *numbers) in of["rows"].items()
        )
        protocols = tuple(of.get("protocols", ("paper", "standard")))
        found[name] = Table(name, rows, tuple(of["scores"]), of["note"], tuple(of.get("paper", ())), protocols)
    return found


class Records:
    """Runs that have been scored or have failed: a JSON file, replaced after each of them."""

    def __init__(self, path: Path):
        self.path = path
        self.runs: list[Run] = (read_json(path) or {}).get("runs", [])

    def find(self, overrides: Sequence[str]) -> Run | None:
        """The run of these very overrides."""
        return next((run for run in self.runs if run["overrides"] == list(overrides)), None)

    def add(self, run: Run) -> None:
        """Puts a run in the place of an earlier attempt at it."""
        self.runs = [other for other in self.runs if other["overrides"] != run["overrides"]] + [run]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"runs": self.runs})

    def variants(self, row: Row) -> dict[str, list[Run]]:
        """The finished runs of a row by what else was changed in training ('' for nothing), one of each seed, the latest."""
        variants: dict[str, dict[int, Run]] = {}
        for run in self.runs:
            if run["row"] == row.name and run["error"] is None:
                changed = [word for word in run["overrides"] if word not in row.overrides and not _is_aside(word)]
                variants.setdefault(" ".join(changed), {})[run["seed"]] = run
        return {changed: list(by_seed.values()) for changed, by_seed in variants.items()}


def markdown(table: Table, records: Records) -> str:
    """A line for each row and variant: mean ± standard deviation of the last checkpoints over the seeds, and what is published in brackets.

    Lines and columns without a number are left out. What is published stands alone while nothing is measured.
    """
    found = [(row, records.variants(row)) for row in table.rows]
    runs = [run for _, variants in found for of_variant in variants.values() for run in of_variant]
    names = _columns(table, runs)
    lines = _measured_lines(found, names) if runs else _published_lines(table, names)
    says = "Published, and not measured here yet." if lines else "Not measured here yet."
    return "\n".join([*lines, *[""] * bool(lines), f"{_described(runs, records.path) if runs else says} {table.note}"])


def _measured_lines(found: Sequence[tuple[Row, dict[str, list[Run]]]], names: Sequence[str]) -> list[str]:
    lines = [_line("trained", ["seeds", *(f"`{name}`" for name in names)]), "|---" * (len(names) + 2) + "|"]
    for row, variants in found:
        for changed, runs in (variants or {"": []}).items():
            if runs or row.published.keys() & set(names):
                cells = [_cell(runs, name, row.published.get(name)) for name in names]
                lines.append(_line(f"{row.name} `{changed}`" if changed else row.name, [str(len(runs) or "–"), *cells]))
    return lines


def _published_lines(table: Table, names: Sequence[str]) -> list[str]:
    rows = [_line(row.name, [row.published.get(name, "") for name in names]) for row in table.rows if row.published]
    return rows and [_line("published", [f"`{name}`" for name in names]), "|---" * (len(names) + 1) + "|", *rows]


def _line(label: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([label, *cells])} |"


def between(text: str, what: str) -> tuple[str, str]:
    """What stands before and after the place of a table in a file; `UserError` if it has none."""
    begin, end = f"<!-- table reproduce_{what} -->", "<!-- /table -->"
    before, found, after = text.partition(begin)
    _, closed, rest = after.partition(end)
    if not (found and closed):
        raise UserError(f"--readme: the table has no place there; write {begin} and {end} on lines of their own where it belongs")
    return before + begin, end + rest


def _is_aside(word: str) -> bool:
    """Whether an override has a place of its own in the table, or does not change what is trained; scores name their data themselves."""
    key = word.partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in {"seed", "data", *FREE})


def _columns(table: Table, runs: Sequence[Run]) -> list[str]:
    """The full names of the scores that were taken, which a trial's are not the table's own; of those that are published if there are none."""
    taken = {name for run in runs for scores in run["scores"].values() for name in scores["last"] if name.startswith(TABULATED)}
    names = taken or {name for row in table.rows for name in row.published}
    return [name for name in table.scores if name in names] + sorted(names - set(table.scores))


def _cell(runs: Sequence[Run], name: str, published: str | None) -> str:
    values = [scores["last"][name] for run in runs for scores in run["scores"].values() if name in scores["last"]]
    if not values:
        return f"– ({published})" if published else "–"
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"**{statistics.fmean(values):.2f}{spread}**" + (f" ({published})" if published else "")


def _described(runs: Sequence[Run], path: Path) -> str:
    """How the numbers came about, and where more is to be found."""
    steps = "/".join(f"{n:,}" for n in sorted({run["steps"] for run in runs}))
    devices = ", ".join(sorted({run["device"] for run in runs}))
    path = path.resolve()
    link = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return (
        f"The last checkpoint after {steps} steps on {devices}: mean ± standard deviation over the seeds. The best checkpoints, KID, "
        f"precision, recall, and how each number was taken: [`{path.name}`]({link}). In brackets what is published; – is not measured yet."
    )
