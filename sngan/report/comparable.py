"""Which scores are comparable: those of one name, measured with the same kind of weights in the same way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

from sngan.report.settings import as_text, differing
from sngan.runs.records import Record, better
from sngan.runs.run import Run

Which = Literal["last", "best"]
"""A run's checkpoint of the most steps, or the best by the quick score."""


class Measure(NamedTuple):
    """A score of one name, measured with the same kind of weights in the same way: its values are comparable."""

    name: str
    weights: str
    how: str
    """The protocol and the contents of reference and extractor, as JSON."""

    @property
    def smaller_is_better(self) -> bool:
        """Whether it is a distance."""
        return better(self.name, 0.0, 1.0)


class Value(NamedTuple):
    """A score, its record, and the real-data baseline measured in the same way."""

    number: float
    deviation: float | None
    record: Record
    baseline: float | None


def measures(runs: Sequence[Run]) -> list[Measure]:
    """Every measure that some run has, but for the quick ones where there are others."""
    found: dict[Measure, bool] = {}
    for record in (record for run in runs for record in run.records):
        for measure in measures_of(record):
            found[measure] = found.get(measure, False) or record.role == "quick"
    return [measure for measure, is_quick in found.items() if not is_quick] or list(found)


def measures_of(record: Record) -> list[Measure]:
    """One for each score of the record."""
    contents = {"reference": record.reference.get("sha256"), "extractor": record.extractor.get("sha256")}
    how = json.dumps({"protocol": record.protocol, **contents}, sort_keys=True)
    return [Measure(name, record.weights, how) for name in record.scores]


def titles(found: Sequence[Measure]) -> dict[Measure, str]:
    """The names of measures; of those that share one, what tells them apart is added."""
    shown = {}
    for measure in found:
        same = [as_text(json.loads(other.how)) | {"weights": other.weights} for other in found if other.name == measure.name]
        mine = as_text(json.loads(measure.how)) | {"weights": measure.weights}
        shown[measure] = ", ".join([measure.name, *(f"{key} {mine.get(key, '–')[:16]}" for key in differing(same))])
    return shown


def value(run: Run, measure: Measure, which: Which) -> Value | None:
    """A run's score: of the most steps it was taken at, or of its best step by the quick score."""
    records = [r for r in run.records if measure.name in r.scores and measure in measures_of(r)]
    if which == "best":
        records = [r for r in records if r.step == run.best_step]
    if not records:
        return None
    record = max(reversed(records), key=lambda r: r.step)  # of equals the one that was written last
    return value_of(record, measure.name)


def value_of(record: Record, name: str) -> Value:
    """One of the record's scores. The real-data baseline has them in the same order, named by its own sample count."""
    baselines = list(record.floor.scores.values()) if record.floor else []
    place = list(record.scores).index(name)
    baseline = baselines[place] if len(baselines) == len(record.scores) else None
    return Value(record.scores[name], record.deviations.get(name), record, baseline)
