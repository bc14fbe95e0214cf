"""The page of several runs: which is better and how sure that is, curves over each other, samples side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from sngan.report import formatting
from sngan.report.comparable import Measure, Which, measures, titles, value
from sngan.report.curves import curves_of_several, sigmas_of_several
from sngan.report.embedding import from_file
from sngan.report.page import render
from sngan.report.ranking import STRIP, comparison, ranked
from sngan.report.settings import Setting, as_text, common, settings
from sngan.runs.run import Run

MOST_GRIDS = 24
"""Runs whose samples are shown, 0.1 MB each."""


def several_page(runs: Sequence[Run], home: Path, *, left_out: Sequence[str]) -> str:
    """The page, which will lie in the folder `home`."""
    scored = titles(measures(runs))
    found = ranked(settings(runs), list(scored))
    of = {run.path: setting for setting in found for run in setting.runs}
    runs = [run for setting in found for run in setting.runs]
    shown = _shown(found)
    whiches: tuple[Which, ...] = ("last", "best")
    comparisons = [comparison(found, measure, title, which) for measure, title in scored.items() for which in whiches]
    pictures = [(run, from_file(run.grids[max(run.grids)], small=True)) for run in shown]
    return render(
        "comparison_page.html",
        runs=runs,
        settings=found,
        of=of,
        short=formatting.names([run.path for run in runs]),
        folder=lambda run: formatting.href(run.path, home),
        place=lambda run, record: formatting.href(run.path / record.file, home),
        strip=STRIP,
        columns=_columns(runs, scored),
        value=value,
        comparisons=[one for one in comparisons if one],
        charts=curves_of_several(runs, of),
        sigma=sigmas_of_several(runs, of),
        grids=[(run, picture, max(run.grids)) for run, picture in pictures if picture],
        n_hidden=sum(bool(run.grids) for run in runs) - len(shown),
        common=yaml.safe_dump(common([as_text(run.config) for run in runs]), sort_keys=False, allow_unicode=True),
        environments=_environments(runs),
        left_out=left_out,
    )


def _columns(runs: Sequence[Run], found: dict[Measure, str]) -> list[tuple[Measure, Which, str]]:
    """The scores in the table of runs; those of best checkpoints where one is not the last."""
    columns: list[tuple[Measure, Which, str]] = []
    for measure, title in found.items():
        columns.append((measure, "last", title))
        if any(value(run, measure, "best") not in (None, value(run, measure, "last")) for run in runs):
            columns.append((measure, "best", f"{title}, best"))
    return columns


def _shown(found: Sequence[Setting]) -> list[Run]:
    """Runs whose samples are shown: all, or else the first of each setting, as many as there is room for."""
    with_grids = [[run for run in setting.runs if run.grids] for setting in found]
    every = [run for members in with_grids for run in members]
    return every if len(every) <= MOST_GRIDS else [members[0] for members in with_grids if members][:MOST_GRIDS]


def _environments(runs: Sequence[Run]) -> dict[str, int]:
    """Device and versions, and of how many runs."""
    found: dict[str, int] = {}
    for line in (line for run in runs for line in formatting.environment(run)):
        found[line] = found.get(line, 0) + 1
    return found
