"""The uncertainty of a mean over seeds: deviations, and the difference of two means with an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """A mean with its sample deviation (over n - 1), None for a single value."""

    n: int
    mean: float
    deviation: float | None


class Difference(NamedTuple):
    """The second of two means minus the first, with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation; None without values."""
    if not values:
        return None
    return Spread(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def difference(first: Spread, second: Spread) -> Difference | None:
    """Welch's t interval (1947), for unequal deviations; None if a side has no deviation, or if both are 0."""
    if first.deviation is None or second.deviation is None:
        return None
    errors = [side.deviation**2 / side.n for side in (first, second) if side.deviation is not None]
    if not sum(errors) > 0:
        return None
    freedom = sum(errors) ** 2 / sum(error**2 / (side.n - 1) for error, side in zip(errors, (first, second), strict=True))
    mean, half = second.mean - first.mean, t_quantile(freedom) * math.sqrt(sum(errors))
    return Difference(mean, mean - half, mean + half)


def t_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t; freedom >= 1.

    With t = sqrt(freedom) tan(a), P(0..t) is proportional to the integral of cos(a)^(freedom - 1) from 0 to a: Simpson's rule, and
    bisection. SciPy would be 40 MB for this one number.
    """

    def area(upper: float, pieces: int = 200) -> float:
        h = upper / pieces
        heights = [math.pow(math.cos(i * h), freedom - 1) for i in range(pieces + 1)]
        return h / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))

    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    low, high = 0.0, math.atan(13 / math.sqrt(freedom))  # 12.7 for one degree of freedom, smaller for more
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if area(middle) / whole < 0.475 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)
