"""Curves as the numbers that a small SVG needs: the template draws them, the style sheet colours them for light and dark.

A chart is drawn at about the size at which it is read, 360 px, on a phone and on a laptop, so that its text is never shrunk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 352, 10, 186
"""Where the axes are."""

MOST_POINTS = 300
"""The most points of a curve. Of a longer one, the lowest and highest point of each stretch are drawn, so that no spike is lost."""

WIDE = 30.0
"""Positive values that span so large a factor are drawn on a logarithmic axis, where the chart allows it."""

MOST = 1e100
"""Larger values are not drawn, like infinity and NaN."""

Point = tuple[float, float]


class Series(NamedTuple):
    """A curve, the number of its colour, and the number of the group that shows and hides it."""

    label: str
    points: Sequence[Point]
    colour: int
    dashed: bool = False
    group: int | None = None


class Tick(NamedTuple):
    """A mark on an axis, in the chart's pixels."""

    at: float
    text: str


class Line(NamedTuple):
    """A drawn curve; `dots` are what a line cannot show."""

    label: str
    colour: int
    dashed: bool
    group: int | None
    path: str
    dots: list[Point]


@dataclass(frozen=True)
class Chart:
    """What the template draws."""

    title: str
    note: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    level: Tick | None
    data: str
    """JSON for the reading under the pointer: [label, colour, group, [[x, y], …]] of each curve, and the range of x."""


def chart(
    title: str, series: Sequence[Series], *, x_title: str = "step", level: tuple[str, float] | None = None, may_be_log: bool = False
) -> Chart | None:
    """Curves over a common x; None where no curve has a finite point. `level` is a named horizontal line."""
    drawn = [s._replace(points=thinned([p for p in s.points if _is_finite(p)])) for s in series]
    drawn = [s for s in drawn if s.points]
    if not drawn:
        return None
    values = [y for s in drawn for _, y in s.points] + ([level[1]] if level else [])
    log = may_be_log and min(values) > 0 and max(values) / min(values) > WIDE
    x_low, x_high = _range([x for s in drawn for x, _ in s.points], margin=0.0)
    y_low, y_high = _range([_scaled(y, log) for y in values], margin=0.05)

    def place(x: float, y: float) -> Point:
        across, up = (x - x_low) / (x_high - x_low), (_scaled(y, log) - y_low) / (y_high - y_low)
        return round(LEFT + across * (RIGHT - LEFT), 1), round(BOTTOM - up * (BOTTOM - TOP), 1)

    lines = []
    for s in sorted(drawn, key=lambda s: -(s.group or 0)):  # what is drawn last lies on top: the first group
        places = [place(x, y) for x, y in s.points]
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
        lines.append(Line(s.label, s.colour, s.dashed, s.group, path, places if len(places) <= 12 else []))
    y_values = _powers(y_low, y_high) if log else ticks(y_low, y_high, 5)
    data = [[s.label, s.colour, s.group, [[float(f"{x:.6g}"), float(f"{y:.5g}")] for x, y in s.points]] for s in drawn]
    return Chart(
        title=title,
        note="logarithmic" if log else "",
        x_title=x_title,
        x_ticks=[Tick(place(x, values[0])[0], text) for x, text in labelled(ticks(x_low, x_high, 4))],
        y_ticks=[Tick(place(x_low, y)[1], text) for y, text in labelled(y_values)],
        lines=lines,
        level=Tick(place(x_low, level[1])[1], level[0]) if level else None,
        data=json.dumps({"range": [x_low, x_high], "series": data}),
    )


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most `MOST_POINTS`: the lowest and the highest of as many stretches as there is room for."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(len(points) / (MOST_POINTS // 2 - 1))
    kept = {0, len(points) - 1}
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers in a range, at most so many: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """Numbers on an axis, with as many digits as tell them apart: 50000 -> 50k."""
    if all(value % 1000 == 0 for value in values) and any(abs(value) >= 10_000 for value in values):
        return [(value, f"{value / 1000:g}k" if value else "0") for value in values]
    digits = next((n for n in range(4, 17) if len({f"{value:.{n}g}" for value in values}) == len(values)), 17)
    return [(value, f"{value:.{digits}g}") for value in values]


def _powers(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis, of which `low` and `high` are the ends' logarithms."""
    for factors in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        found = [f * 10.0**p for p in powers for f in factors if low <= math.log10(f * 10.0**p) <= high]
        if len(found) <= 6:
            return found
    return found[:: math.ceil(len(found) / 6)]


def _range(values: Sequence[float], *, margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value, or as good as one
        wide = abs(low) * 0.1 or 1.0
        return low - wide, high + wide
    return low - margin * (high - low), high + margin * (high - low)


def _scaled(y: float, log: bool) -> float:
    return math.log10(y) if log else y


def _is_finite(point: Any) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < MOST for v in point)
