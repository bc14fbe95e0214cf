"""The ranking of settings by one measure: their means over seeds, the best first, and how certain this order is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sngan.report import formatting
from sngan.report.comparable import Measure, Value, Which, value
from sngan.report.settings import Setting
from sngan.report.statistics import Difference, Spread, difference, spread
from sngan.runs.run import Run

STRIP = 140
"""Width of the strip that shows each seed, in pixels."""

MOST_ROWS = 12
"""The most settings in a table of means; the table of runs has all of them."""


class Dot(NamedTuple):
    """A seed's score on the strip."""

    at: float
    run: Run
    value: Value


class Comparison(NamedTuple):
    """The settings ranked by one measure, the best first."""

    title: str
    measure: Measure
    which: Which
    rows: list[tuple[Row, list[Dot], float | None]]
    """Each setting with the places of its seeds and of their mean on the strip."""
    low: float
    high: float
    """`low` and `high` are the ends of the strip."""
    verdict: str
    how: str


class Row(NamedTuple):
    """A setting's seeds under one measure; spread is None if no complete run has the score."""

    setting: Setting
    values: list[tuple[Run, Value]]
    spread: Spread | None
    to_best: Difference | None
    """The difference from the best setting; positive for a larger score."""


def ranked(settings: Sequence[Setting], found: Sequence[Measure]) -> list[Setting]:
    """The settings sorted by the first measure, the best first, and renumbered."""
    order = [row.setting for row in rows(settings, found[0], "last")] if found else settings
    return [replace(setting, number=number) for number, setting in enumerate(order)]


def comparison(settings: Sequence[Setting], measure: Measure, title: str, which: Which) -> Comparison | None:
    """The comparison by one measure; None if no complete run has it, or if the best checkpoints are all the last ones."""
    placed = rows(settings, measure, which)
    values = [v for row in placed for _, v in row.values]
    if not values or (which == "best" and all(value(run, measure, "last") == v for row in placed for run, v in row.values)):
        return None
    low, high = min(v.number for v in values), max(v.number for v in values)
    width = (high - low) or 1.0

    def at(number: float) -> float:
        return round(8 + (number - low) / width * (STRIP - 16), 1)

    drawn = [
        (row, [Dot(at(v.number), run, v) for run, v in row.values], at(row.spread.mean) if row.spread else None) for row in placed
    ]
    return Comparison(title, measure, which, drawn[:MOST_ROWS], low, high, verdict(placed), formatting.protocol(values[0].record))


def verdict(placed: Sequence[Row]) -> str:
    """A sentence on which setting is better than the next one, and how certain that is."""
    scored = [row for row in placed if row.spread]
    if len(scored) < 2:
        return ""
    first, second = scored[:2]
    assert first.spread and second.spread
    seeds = f"{first.spread.n} and {second.spread.n} seeds"
    gap = abs(second.spread.mean - first.spread.mean)
    lead = f"{first.setting.label} is ahead of {second.setting.label} by {formatting.number(gap)}"
    between = second.to_best
    if between is None:
        return f"{lead}, with {seeds}: too few to say how much of it is chance."
    low, high = sorted((abs(between.low), abs(between.high))) if between.is_clear else (between.low, between.high)
    if between.is_clear:
        return f"{lead}; by {formatting.number(low)} to {formatting.number(high)} with 95 % confidence ({seeds})."
    return f"{lead}, but the 95 % interval of the difference, {formatting.number(low)} to {formatting.number(high)}, holds 0: not clear with {seeds}."


def rows(settings: Sequence[Setting], measure: Measure, which: Which) -> list[Row]:
    """The settings by their mean, the best first. Incomplete runs are left out, and so are further runs of the same seed."""
    found = []
    for setting in settings:
        values: dict[Any, tuple[Run, Value]] = {}
        for run in setting.runs:
            scored = value(run, measure, which)
            if not scored or not run.is_complete or not math.isfinite(scored.number):
                continue
            if which == "best" or scored.record.step == run.steps:
                values.setdefault(json.dumps(run.seed), (run, scored))
        found.append(Row(setting, list(values.values()), spread([v.number for _, v in values.values()]), None))
    found.sort(key=lambda row: (row.spread is None, 0.0 if row.spread is None else _rank(measure, row.spread.mean)))
    first = found[0].spread if found else None
    return [
        row._replace(to_best=difference(first, row.spread) if first and row.spread and row is not found[0] else None)
        for row in found
    ]


def _rank(measure: Measure, mean: float) -> float:
    return mean if measure.smaller_is_better else -mean
