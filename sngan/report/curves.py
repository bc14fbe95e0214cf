"""Which curves are drawn: of one run, each kind of scalar in a chart; of several, each scalar of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sngan.report.charts import Chart, Series, chart
from sngan.report.comparable import Measure, measures_of, titles, value_of
from sngan.report.settings import N_COLOURS, Setting
from sngan.runs.run import Run

FEWEST = 3
"""The fewest scores of a curve: more than those of the last and the best checkpoint."""

Points = list[tuple[Any, Any]]
"""Steps with what a file has for them, numbers or not; a chart draws the finite ones."""

APART = ("step", "sigma", "lr", "D_lr", "images_per_s")
"""Scalars that have a chart of their own, at the end."""

PAIRS = {"Losses": ("D_loss", "G_loss"), "Mean logits": ("real_logits", "fake_logits")}
"""Scalars that are read together."""


def curves_of_one(run: Run) -> list[Chart]:
    """Its scores, then what belongs together in one chart, then every other scalar."""
    scalars = list(dict.fromkeys(name for line in run.scalars for name in line))
    taken = {name for pair in PAIRS.values() for name in pair}
    drawn = [*_score_charts(run)]
    for title, pair in PAIRS.items():
        drawn.append(chart(title, [Series(name, points(run, name), i) for i, name in enumerate(pair)]))
    drawn += [chart(name, [Series(name, points(run, name), 0)]) for name in scalars if name not in taken and name not in APART]
    for network, layers in sigma_layers([run]).items():
        series = [
            Series(f"{network}/{layer}", sigma_points(run, f"{network}/{layer}"), i % N_COLOURS, i >= N_COLOURS)
            for i, layer in enumerate(layers)
        ]
        drawn.append(chart(f"Sigma of each layer of {network}", series))
    drawn.append(
        chart("Learning rate", [Series(name, points(run, name), i) for i, name in enumerate(("lr", "D_lr")) if name in scalars])
    )
    drawn.append(chart("Images per second", [Series("images_per_s", points(run, "images_per_s"), 0)]))
    return [one for one in drawn if one]


def _score_charts(run: Run) -> list[Chart | None]:
    """A chart for each measure with several steps, with the real-data baseline if it has the same number of images."""
    drawn = []
    found = dict.fromkeys(m for record in run.records for m in measures_of(record))
    for measure, title in titles(list(found)).items():
        curve = scores(run, measure)
        if len(curve) < FEWEST:
            continue
        as_many = [r for r in run.records if measure in measures_of(r) and r.floor and r.floor.n == r.protocol.get("n")]
        baseline = value_of(as_many[-1], measure.name).baseline if as_many else None
        level = None if baseline is None else ("real images", baseline)
        drawn.append(chart(title, [Series(measure.name, curve, 0)], level=level, may_be_log=measure.smaller_is_better))
    return drawn


def scores(run: Run, measure: Measure) -> Points:
    """A score against the step, the last of each step."""
    return sorted({r.step: r.scores[measure.name] for r in run.records if measure in measures_of(r)}.items())


def points(run: Run, name: str) -> Points:
    """A scalar against the step."""
    return [(line["step"], line[name]) for line in run.scalars if name in line]


def sigma_layers(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The layers of each network whose sigma is tracked."""
    keys = dict.fromkeys(key for run in runs for line in run.scalars for key in _sigmas(line))
    networks: dict[str, list[str]] = {}
    for key in keys:
        network, _, layer = key.partition("/")
        networks.setdefault(network, []).append(layer)
    return networks


def sigma_points(run: Run, layer: str) -> Points:
    """The sigma of a layer, `D/convs.0`, against the step."""
    return [(line["step"], _sigmas(line)[layer]) for line in run.scalars if layer in _sigmas(line)]


def _sigmas(line: dict[str, Any]) -> dict[str, Any]:
    sigmas = line.get("sigma")
    return sigmas if isinstance(sigmas, dict) else {}


def curves_of_several(runs: Sequence[Run], of: Mapping[Path, Setting]) -> list[Chart]:
    """A chart for each measure with several steps and each scalar, a curve for each run in the colour of its setting."""
    drawn = []
    every = dict.fromkeys(m for run in runs for record in run.records for m in measures_of(record))
    for measure, title in titles(list(every)).items():
        curves = [scores(run, measure) for run in runs]
        if max(map(len, curves)) >= FEWEST:
            drawn.append(_overlaid(title, runs, curves, of, may_be_log=measure.smaller_is_better))
    for name in dict.fromkeys(name for run in runs for line in run.scalars for name in line):
        curves = [points(run, name) for run in runs]
        if name not in ("step", "sigma") and any(curve != curves[0] for curve in curves):  # the same schedule says nothing
            drawn.append(_overlaid(name, runs, curves, of))
    return [one for one in drawn if one]


def sigmas_of_several(runs: Sequence[Run], of: Mapping[Path, Setting]) -> list[Chart]:
    """A chart for each layer."""
    layers = [f"{network}/{layer}" for network, names in sigma_layers(runs).items() for layer in names]
    drawn = [_overlaid(f"sigma of {layer}", runs, [sigma_points(run, layer) for run in runs], of) for layer in layers]
    return [one for one in drawn if one]


def _overlaid(
    title: str, runs: Sequence[Run], curves: Sequence[Points], of: Mapping[Path, Setting], *, may_be_log: bool = False
) -> Chart | None:
    series = [
        Series(f"{of[run.path].label}, seed {run.seed}", curve, of[run.path].colour, group=of[run.path].number)
        for run, curve in zip(runs, curves, strict=True)
    ]
    return chart(title, series, may_be_log=may_be_log)
