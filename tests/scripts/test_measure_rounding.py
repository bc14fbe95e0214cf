from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_rounding.py"
SHAPES = ["data=shapes", "data.n_train=60", "data.n_test=40", "device=cpu"]


def measure(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["measure_rounding.py", *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_inverse_alone_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    measure("--n", "50", "--out", "record.json", *SHAPES, monkeypatch=monkeypatch)
    record = json.loads(Path("record.json").read_text())
    assert record["n"] == {"from_themselves": 50, "test_against_train": 40}
    assert record["inverse"] == {"changed": 0.0, **record["unchanged"]}
    for other in ("nearest", "truncate"):
        assert record[other]["changed"] > 0.1
        assert record[other]["from_themselves"] > 1e-6 > record["inverse"]["from_themselves"]


def test_a_folder_that_is_not_there_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="its folder does not exist"):
        measure("--out", "nowhere/record.json", monkeypatch=monkeypatch)
