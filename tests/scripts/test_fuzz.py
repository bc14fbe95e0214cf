from __future__ import annotations

import json
import runpy
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from sngan import UserError

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"
NAMES = runpy.run_path(str(SCRIPT))
FEW = {"runs": 5, "overrides": 3}
"""Inputs of a kind that takes longer; 40 of the others."""


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it passes over
@pytest.mark.parametrize(
    "name", ["JSON lines", "configs", "npz", "safetensors", "state.pt", "pictures", "zip", "runs", "overrides"]
)
def test_hostile_inputs_raise_user_errors_alone(name: str, tmp_path: Path) -> None:
    assert NAMES["fuzz"](NAMES["kinds"]()[name], FEW.get(name, 40), 2**32) is None  # a seed that the record has not


def broken(content: int) -> None:
    if content > 6:
        raise KeyError("a fault")
    with NAMES["mistakes"]():
        raise UserError("a mistake")


def test_a_fault_is_found_and_made_small() -> None:
    assert NAMES["fuzz"](NAMES["Kind"](50, st.integers(), broken), 50, 0) == "KeyError: 'a fault'; input 7"


def test_what_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMES["fuzz"].__globals__, "SECONDS", 0.05)
    found = NAMES["fuzz"](NAMES["Kind"](1, st.just(5.0), time.sleep), 1, 0)
    assert found == "TimeoutError: more than 0.05 s; input 5.0"


def test_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    record: dict[str, Any] = {"inputs": {"npz": 10}, "seconds": {"npz": 1.0}, "found": []}
    Path("fuzz.json").write_text(json.dumps(record))
    monkeypatch.setattr("sys.argv", ["fuzz.py", "--only", "npz", "--scale", "0.001", "--out", "fuzz.json"])
    monkeypatch.setitem(NAMES["main"].__globals__, "limit_memory", lambda: False)  # it would last beyond this test
    here = Path.cwd()
    monkeypatch.setitem(NAMES["main"].__globals__, "settle", lambda home: None)
    assert NAMES["main"]() == 0
    record = json.loads((here / "fuzz.json").read_text())
    assert record["inputs"] == {"npz": 18}
    assert record["found"] == []
    assert "npz: 18 of 18" in capsys.readouterr().out
