"""The geometry of curves."""

from __future__ import annotations

import json
import math
import re

import pytest

from sngan.report.charts import BOTTOM, LEFT, MOST_POINTS, RIGHT, TOP, Series, chart, labelled, thinned, ticks


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path)]


def test_every_point_lies_between_the_axes_and_larger_is_higher() -> None:
    drawn = chart("a", [Series("a", [(0, -3.0), (5, 7.0), (10, 100.0)], 0)])
    assert drawn
    found = places(drawn.lines[0].path)
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in found)
    assert found == sorted(found)
    assert [y for _, y in found] == sorted((y for _, y in found), reverse=True)


def test_what_is_no_finite_number_is_not_drawn() -> None:
    broken = [(1, math.nan), (2, math.inf), (3, "<script>"), (4, None), (5, True), (6, 1e300), (None, 1.0)]
    assert chart("a", [Series("a", broken, 0)]) is None  # type: ignore[arg-type]
    drawn = chart("a", [Series("a", [*broken, (7, 2.0)], 0)])  # type: ignore[list-item]
    assert drawn
    assert json.loads(drawn.data)["series"] == [["a", 0, None, [[7, 2]]]]


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1e-30, 2e-30], [-1e50, 1e50], [1e9, 1e9 + 1]])
def test_any_range_gives_axes(values: list[float]) -> None:
    drawn = chart("a", [Series("a", list(enumerate(values)), 0)])
    assert drawn
    assert all(TOP <= y <= BOTTOM for _, y in places(drawn.lines[0].path))
    assert 1 <= len(drawn.y_ticks) <= 6


def test_a_wide_range_is_logarithmic_where_it_may_be() -> None:
    points = [(0, 200.0), (1, 20.0), (2, 2.0)]
    assert not chart("a", [Series("a", points, 0)]).note  # type: ignore[union-attr]
    drawn = chart("a", [Series("a", points, 0)], may_be_log=True)
    assert drawn
    assert drawn.note == "logarithmic"
    first, second, third = (y for _, y in places(drawn.lines[0].path))
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert not chart("a", [Series("a", [*points, (3, 0.0)], 0)], may_be_log=True).note  # type: ignore[union-attr]


def test_thinning_keeps_the_ends_and_every_spike() -> None:
    points = [(float(i), 1.0) for i in range(100_000)]
    points[777] = (777.0, 50.0)
    points[90_001] = (90_001.0, -50.0)
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS
    assert {points[0], points[777], points[90_001], points[-1]} <= set(kept)
    assert list(kept) == sorted(kept)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 17), (0.0021, 0.0034), (1e6, 1e6 + 3), (-1e-9, 1e-9)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    margin = (high - low) * 1e-6
    assert 2 <= len(found) <= 6
    assert all(low - margin <= tick <= high + margin for tick in found)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1"]),
        ([0, 50_000, 100_000], ["0", "50k", "100k"]),
        ([186.51, 186.512], ["186.51", "186.512"]),
        ([1e-5, 2e-5], ["1e-05", "2e-05"]),
        ([500, 1000], ["500", "1000"]),
    ],
)
def test_numbers_on_an_axis_are_short_and_never_the_same(values: list[float], texts: list[str]) -> None:
    assert [text for _, text in labelled(values)] == texts
