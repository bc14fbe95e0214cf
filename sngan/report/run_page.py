"""The page of one run: its scores, curves, samples, config, and how to train it again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from sngan.doctor.checks import shown
from sngan.evaluation.neighbours import Look, Neighbours, nearer_than_real
from sngan.report import formatting
from sngan.report.charts import Chart, Series, chart
from sngan.report.comparable import Value, measures_of, titles, value_of
from sngan.report.curves import curves_of_one
from sngan.report.embedding import MOST_FRAMES, Picture, from_file, png, spread_out
from sngan.report.page import render
from sngan.report.samples import Made
from sngan.runs.records import Record
from sngan.runs.run import Run


class Card(NamedTuple):
    """The scores of one checkpoint."""

    title: str
    record: Record
    scores: list[tuple[str, Value]]
    how: str


class Shown(NamedTuple):
    """A sample and its nearest training images, as pictures."""

    look: Look
    image: Picture
    matches: list[Picture]


def one_page(run: Run, home: Path, *, made: Made, command: str | None) -> str:
    """The page, which will lie in the folder `home`."""
    found = made.neighbours
    frames = {step: from_file(run.grids[step], small=True) for step in spread_out(list(run.grids), MOST_FRAMES)}
    final = max(run.grids, default=None)
    return render(
        "run_page.html",
        run=run,
        name=str(run.path),
        folder=formatting.href(run.path, home),
        cards=_cards(run),
        measures=titles(list(dict.fromkeys(m for record in run.records for m in measures_of(record)))),
        value_of=value_of,
        measures_of=measures_of,
        records=run.records,
        place=lambda record: formatting.href(run.path / record.file, home),
        deviation_of=formatting.deviation_of,
        charts=curves_of_one(run),
        frames={step: picture for step, picture in frames.items() if picture},
        n_grids=len(run.grids),
        final=None if final is None else from_file(run.grids[final], small=False),
        final_step=final,
        final_file=None
        if final is None
        else (formatting.href(run.grids[final], home), formatting.relative(run.grids[final], home)),
        made=made,
        found=found,
        health=_health(made),
        rows=_rows(found) if found else [],
        distances=_distances(found) if found else None,
        near=_near(found) if found else None,
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        environment=formatting.environment(run),
        command=command,
        config_file=formatting.href(run.path / "config.json", home),
    )


def _health(made: Made) -> str | None:
    """What `sngan doctor` finds, in a sentence; None where nobody asked."""
    if not made.health:
        return None
    measured = [one for one in made.health if one["value"] is not None]
    unusual = [one for one in measured if one["verdict"] != "fine"]
    said = [f"{one['verdict']} – {one['title']}, {shown(one['value'], one)}: {one['why']}" for one in unusual]
    return "; ".join(said) if said else f"fine, by {len(measured)} checks"


def _cards(run: Run) -> list[Card]:
    last = run.last_full() or max(run.records, key=lambda r: r.step, default=None)
    if last is None:
        return []
    best = run.at(run.best_step, last.role or "") if run.best_step is not None else None
    if best is None or best.step == last.step:
        title = "Last checkpoint" + (", also the best by the quick score" if best else "")
        return [_card(title, last)]
    return [_card("Last checkpoint", last), _card("Best checkpoint by the quick score", best)]


def _card(title: str, record: Record) -> Card:
    return Card(title, record, [(name, value_of(record, name)) for name in record.scores], formatting.protocol(record))


def _rows(found: Neighbours) -> list[tuple[str, list[Shown]]]:
    def shown(looks: list[Look]) -> list[Shown]:
        return [Shown(look, png(look.image), [png(match.image) for match in look.matches]) for look in looks]

    n = len(found.samples)
    return [
        (f"The first {len(found.first)} samples, which nobody chose", shown(found.first)),
        (f"The {len(found.nearest)} of {n:,} samples that are nearest to a training image", shown(found.nearest)),
    ]


def _distances(found: Neighbours) -> Chart | None:
    def quantiles(distances: list[float]) -> list[tuple[float, float]]:
        return [(100 * i / max(len(distances) - 1, 1), d) for i, d in enumerate(distances)]

    series = [
        Series("samples", quantiles(found.samples), 0),
        Series(f"real images: {found.held_out}", quantiles(found.baseline), 1),
    ]
    return chart("Squared distance to the nearest training image", series, x_title="images, % (the nearest first)", may_be_log=True)


def _near(found: Neighbours) -> dict[str, float] | None:
    """The medians, and how many samples are nearer than the nearest hundredth of the real images."""
    nearer = nearer_than_real(found)
    if nearer is None:
        return None
    return {
        "samples": found.samples[len(found.samples) // 2],
        "baseline": found.baseline[len(found.baseline) // 2],
        "limit": nearer[0],
        "share": 100 * nearer[1],
    }
