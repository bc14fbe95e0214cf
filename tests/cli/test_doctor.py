"""`sngan doctor` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sngan.__main__ import main

Capture = pytest.CaptureFixture[str]


def test_the_table_has_a_line_for_each_check_whatever_the_verdict(sweep: Path, capsys: Capture) -> None:
    run = str(sweep / "loss-hinge" / "seed0")
    assert main(["doctor", run, "n=16", "features=false"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{run}, step 6: ")
    assert sum(line.endswith((" fine", " look", " wrong", " not measured")) for line in lines[1:]) == 11
    assert max(map(len, lines[1:])) <= 100


def test_json_is_alone_on_standard_output_and_out_holds_the_same(sweep: Path, capsys: Capture) -> None:
    checkpoint = sweep / "loss-bce" / "seed0" / "checkpoints" / "step-00000004"
    assert main(["doctor", f"checkpoint={checkpoint}", "n=16", "features=false", "format=json", "out=mine.json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["step"], record["n"], len(record["findings"])) == (4, 16, 11)
    assert json.loads(Path("mine.json").read_text()) == record


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["doctor"], "give one of run=DIR"),
        (["doctor", "nowhere"], "run=nowhere: no such folder"),
        (["doctor", "RUN", "RUN"], "one run at a time"),
        (["doctor", "RUN", "n=1"], "n=1"),
        (["doctor", "RUN", "out=no/folder/x.json"], "out=no/folder/x.json cannot be written"),
        (["doctor", "RUN", "data=npz", "data.path=gone.npz"], "data.path=gone.npz"),
    ],
)
def test_mistakes_are_told_in_a_line_or_two(words: list[str], said: str, sweep: Path, capsys: Capture) -> None:
    assert main([word.replace("RUN", str(sweep / "loss-hinge" / "seed0")) for word in words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) <= 2
    assert not list(Path().iterdir())
