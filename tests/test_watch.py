"""Two real processes of which one ends before the other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sngan.runs.checkpoint import latest

HERE = Path(__file__).parent
GO_ON = "all ranks have ended; the same command goes on from the last checkpoint"


class End(NamedTuple):
    codes: list[int]
    errors: str
    result: dict[str, Any] | None
    folder: Path

    def said(self) -> list[str]:
        """The command's own lines on standard error."""
        return [line.removeprefix("sngan: ") for line in self.errors.splitlines() if line.startswith("sngan: ")]


def result_in(folder: Path) -> dict[str, Any] | None:
    path = folder / "run" / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, End]:
    folder, hows = tmp_path_factory.mktemp("ends"), ["refuses", "raises", "away", "stopped", "differs"]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(HERE / "two_ranks_end.py"), *hows], cwd=folder, env=environment, check=True)
    found = json.loads((folder / "ends.json").read_text())
    assert all(found[how]["seconds"] < 55 for how in hows)  # start-up included, on a busy machine; without an end it would be 60
    return {how: End(found[how]["codes"], found[how]["errors"], result_in(folder / how), folder / how) for how in hows}


def test_what_one_rank_alone_refuses_is_said_once_and_recorded(ends: dict[str, End]) -> None:
    end = ends["refuses"]
    assert end.codes == [2, 2]
    assert end.said() == ["rank 1: data.path: a picture is not there any more"]
    assert end.result is not None
    assert (end.result["status"], end.result["error"]) == ("failed", f"{end.said()[0]}\n{GO_ON}")


def test_a_fault_of_one_rank_alone_has_its_traceback_and_is_recorded(ends: dict[str, End]) -> None:
    end = ends["raises"]
    assert 0 not in end.codes
    assert end.said() == ["rank 1: ValueError: broken"]
    assert 'raise ValueError("broken")' in end.errors
    assert end.errors.count("Traceback") == 1
    assert end.result is not None
    assert (end.result["status"], end.result["error"]) == ("failed", f"rank 1: ValueError: broken\n{GO_ON}")


def test_a_rank_that_does_not_come_out_of_what_it_does_is_ended(ends: dict[str, End]) -> None:
    """As in a collective on a GPU, which waits for a rank that is gone. There is then no result, as after a kill."""
    end = ends["away"]
    assert end.codes == [1, -9]
    assert len(end.said()) == 1
    assert end.said()[0].startswith("rank 1 on ")
    assert end.result is None


def test_when_one_rank_is_asked_to_stop_all_save_and_leave(ends: dict[str, End]) -> None:
    """They ask each other every 20 steps."""
    end = ends["stopped"]
    assert end.codes == [143, 130]
    assert end.result is not None
    assert (end.result["status"], end.result["step"]) == ("interrupted", 20)
    assert latest(end.folder / "run" / "checkpoints") == end.folder / "run" / "checkpoints" / "step-00000020"


def test_ranks_that_have_come_apart_save_nothing(ends: dict[str, End]) -> None:
    """The weights of a layer of one rank are moved by 1e-6 in the fourth step, whose state is to be saved."""
    end = ends["differs"]
    assert end.codes == [2, 2]
    assert len(end.said()) == 1
    assert re.match(
        r"D\.\S+( exp_avg)? is not the same on all ranks after step 4: rank 1 differs from rank 0; this state is not saved",
        end.said()[0],
    )
    assert end.result is not None
    assert end.result["status"] == "failed"
    assert latest(end.folder / "run" / "checkpoints") == end.folder / "run" / "checkpoints" / "step-00000002"
