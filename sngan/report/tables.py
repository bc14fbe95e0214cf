"""The same numbers for a note (Markdown) and for a program (CSV)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sngan.report import formatting
from sngan.report.comparable import measures, measures_of, titles, value, value_of
from sngan.report.ranking import ranked, rows, verdict
from sngan.report.settings import Setting, settings
from sngan.runs.run import Run


def csv_table(runs: Sequence[Run], home: Path) -> str:
    """A line for each recorded score of each run, with its record and the config keys in which the runs differ; one for a run without any."""
    found = settings(runs)
    every = titles(list(dict.fromkeys(m for run in runs for record in run.records for m in measures_of(record))))
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    keys = list(found[0].options)
    fixed = ["run", "status", "seed", "step", "by", "role", "weights", "score", "value", "deviation", "floor", "record"]
    lines.writerow([*fixed, *map(_cell, keys)])
    for setting, run in _members(found):
        where = formatting.relative(run.path, home)
        tail = [_cell(shown) for shown in setting.options.values()]
        head = [_cell(where), _cell(run.status), "" if run.seed is None else _cell(str(run.seed))]
        if not run.records:
            lines.writerow([*head, run.step, *[""] * 8, *tail])
        for record in run.records:
            for measure in measures_of(record):
                scored = value_of(record, measure.name)
                numbers = [scored.number, scored.deviation, scored.baseline]
                what = [_cell(text) for text in (record.by, record.role or "", record.weights, every[measure])]
                lines.writerow([*head, record.step, *what, *numbers, _cell(f"{where}/{record.place}"), *tail])
    return written.getvalue()


def markdown(runs: Sequence[Run], home: Path, *, left_out: Sequence[str]) -> str:
    """Tables: mean and deviation of each setting, then each run with links to its folder and its records."""
    scored = titles(measures(runs))
    found = ranked(settings(runs), list(scored))
    short = formatting.names([run.path for run in runs])
    parts = [f"# {len(runs)} run{'s' * (len(runs) != 1)}", *(f"left out: {_text(reason)}" for reason in left_out)]
    for measure, title in scored.items():
        placed = [row for row in rows(found, measure, "last") if row.spread]
        if placed and len(runs) > 1:
            record = placed[0].values[0][1].record
            parts += [f"## {_text(title)}", f"Of the last checkpoint; {'less' if measure.smaller_is_better else 'more'} is better."]
            parts += [_text(verdict(placed)), _text(formatting.protocol(record))]
            cells = [
                [
                    _text(row.setting.label),
                    formatting.mean_of(row.spread),
                    str(row.spread.n),
                    formatting.interval(row.to_best) if row.to_best else "",
                    ", ".join(_link(formatting.number(v.number), run.path / v.record.file, home) for run, v in row.values),
                ]
                for row in placed
                if row.spread
            ]
            parts += [_table(["setting", "mean ± deviation", "n", "from the first, 95 % interval", "each seed"], cells)]
    if len(runs) > 1:
        parts += ["n counts seeds; the deviation is that of a sample, over n - 1; intervals are Welch's, for each pair alone."]
    heads = ["run", "status", "step", "time", "seed", *map(_text, found[0].options), *map(_text, scored.values())]
    lines = []
    for setting, run in _members(found):
        values = [value(run, measure, "last") for measure in scored]
        lines.append(
            [
                _link(short[run.path], run.path, home),
                _text(run.status + (f": {run.error}" if run.error else "")),
                f"{formatting.count(run.step)} of {_text(formatting.count(run.steps))}",
                formatting.duration(run.seconds),
                _text(formatting.count(run.seed)),
                *(_text(shown) for shown in setting.options.values()),
                *(_link(formatting.number(v.number), run.path / v.record.file, home) if v else "–" for v in values),
            ]
        )
    parts += ["## Runs", _table(heads, lines)]
    return "\n\n".join(parts) + "\n"


def _members(found: Sequence[Setting]) -> Iterable[tuple[Setting, Run]]:
    return ((setting, run) for setting in found for run in setting.runs)


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _text(text: str) -> str:
    """Text in which Markdown, and HTML in it, sees nothing but text."""
    # an underscore inside a word is none of Markdown's
    return re.sub(r"([\\`*\[\]<>|#~&$!]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def _link(text: str, target: Path, home: Path) -> str:
    return f"[{_text(text)}]({formatting.href(target, home)})"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *lines])
