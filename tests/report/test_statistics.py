"""Means over seeds and how sure they are."""

from __future__ import annotations

import math
import random

import pytest

from sngan.report.statistics import difference, spread, t_quantile


@pytest.mark.parametrize(
    ("freedom", "published"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (10, 2.228), (30, 2.042), (120, 1.980), (1e6, 1.960)],
)
def test_students_quantile_is_that_of_the_tables(freedom: float, published: float) -> None:
    assert t_quantile(freedom) == pytest.approx(published, abs=6e-4)


def test_the_deviation_is_that_of_a_sample() -> None:
    assert spread([1.0, 2.0, 3.0]) == (3, 2.0, 1.0)
    assert spread([5.0]) == (1, 5.0, None)
    assert spread([]) is None


def test_welchs_interval_is_that_of_the_textbook() -> None:
    # 1 ± 4.303 sqrt(2 / 3): equal deviations of 1 and n = 3 give 4 degrees of freedom
    found = difference(spread([1.0, 2.0, 3.0]), spread([2.0, 3.0, 4.0]))  # type: ignore[arg-type]
    assert found == pytest.approx((1.0, 1 - 2.776 * math.sqrt(2 / 3), 1 + 2.776 * math.sqrt(2 / 3)), abs=1e-3)


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    draw = random.Random(0)
    n, held = 2000, 0
    for _ in range(n):
        first, second = [draw.gauss(0, 1) for _ in range(3)], [draw.gauss(2, 3) for _ in range(3)]
        found = difference(spread(first), spread(second))  # type: ignore[arg-type]
        assert found
        held += found.low <= 2 <= found.high
    assert held / n == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0]])
def test_no_interval_where_there_is_nothing_to_take_it_from(values: list[float]) -> None:
    assert difference(spread([3.0, 3.0]), spread(values)) is None  # type: ignore[arg-type]


def test_a_difference_is_clear_if_zero_is_outside() -> None:
    near, far = [1.0, 1.1, 0.9], [5.0, 5.1, 4.9]
    assert difference(spread(near), spread(far)).is_clear  # type: ignore[arg-type, union-attr]
    assert not difference(spread(near), spread([0.0, 2.0, 1.3])).is_clear  # type: ignore[arg-type, union-attr]
