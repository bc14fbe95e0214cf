"""The limits are those of the record: healthy runs are within them, and each sick run is told by what it is sick of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from sngan.doctor.checks import CHECKS, finding, findings, gravest
from sngan.files import read_json

RUNS: dict[str, Any] = read_json(Path(__file__).parents[2] / "scripts" / "results" / "doctor.json")["runs"]
SICK_OF = {
    "shapes_lr_100": {"lead"},
    "shapes_no_constraint": {"logits", "lead"},
    "shapes_50_images": {"overfitting"},
    "cifar10_slow_D": {"lead"},
    "cifar10_constant_D": {"gradient", "lead"},
    "shapes_collapsed": {"pixel_diversity", "feature_diversity", "lead"},
}


def verdicts(name: str) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in findings(RUNS[name]["numbers"])}


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run["is_healthy"]])
def test_a_healthy_run_is_fine(name: str) -> None:
    assert set(verdicts(name).values()) <= {"fine", "not measured"}


@pytest.mark.parametrize("name", SICK_OF)
def test_a_sick_run_is_told_by_what_it_is_sick_of(name: str) -> None:
    assert not RUNS[name]["is_healthy"]
    assert SICK_OF[name] <= {check for check, verdict in verdicts(name).items() if verdict == "wrong"}


def test_a_number_is_fine_up_to_its_limits_and_what_is_no_number_is_wrong() -> None:
    (low, high), (least, most) = CHECKS["gradient"].usual, CHECKS["gradient"].possible
    expected = {
        low: "fine",
        high: "fine",
        low / 2: "look",
        most: "look",
        least / 2: "wrong",
        2 * most: "wrong",
        math.inf: "wrong",
        math.nan: "wrong",
    }
    assert {value: finding("gradient", value)["verdict"] for value in expected} == expected
    assert "vanishes" in finding("gradient", least / 2)["why"]
    assert "too steep" in finding("gradient", math.inf)["why"]


def test_the_gravest_verdict_is_that_of_the_run() -> None:
    healthy = dict.fromkeys(CHECKS, 0.0) | {"lead": 1.0, "gradient": 1.0, "pixel_diversity": 1.0, "feature_diversity": 1.0}
    assert gravest(findings(healthy)) == "fine"
    assert gravest(findings({**healthy, "overfitting": 0.3})) == "look"
    assert gravest(findings({**healthy, "overfitting": 0.3, "copies": 1.0})) == "wrong"
    assert gravest(findings({})) == "not measured"


def test_what_is_not_fine_has_advice_that_names_a_key() -> None:
    for name, check in CHECKS.items():
        low, high = check.usual
        for value, advice in ((low - 1, check.low), (high + 1, check.high)):
            assert not advice or finding(name, value)["why"] == advice
            assert not advice or "=" in advice or "lower optimizer" in advice
