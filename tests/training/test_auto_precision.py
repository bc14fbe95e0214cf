"""`precision=auto`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import TINY, composed
from sngan import Config, train
from sngan.files import read_json
from sngan.training import auto_precision
from sngan.training.auto_precision import evidences, is_faster, settled

CPU = torch.device("cpu")
SAME = {"fp32": [3.0, 4.0, 5.0], "bf16": [3.1, 4.1, 5.1]}
OTHER = {"fp32": [3.0, 4.0, 5.0], "bf16": [5.0, 6.0, 7.0]}


@pytest.fixture(scope="module")
def auto() -> Config:
    return composed(*TINY, "run_dir=run", "precision=auto")


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Ships these records, on a device that is faster in bfloat16 by this factor or more."""

    def ship(*rows: dict, faster: bool = True) -> None:
        path = tmp_path / "bf16.json"
        common = {"game": {"loss.name": "hinge", "generator.widths": [16, 8, 8, 8]}, "score": "fd", "record": "r.json"}
        path.write_text(json.dumps([{**common, **row} for row in rows]))
        monkeypatch.setattr(auto_precision, "RECORDS", path)
        monkeypatch.setattr(auto_precision, "WORTH", 0.0 if faster else 1e9)

    return ship


@pytest.mark.parametrize(
    ("rows", "faster", "kind", "reason"),
    [
        ([], True, "fp32", "no record"),
        ([{**SAME, "game": {"loss.name": "bce"}}], True, "fp32", "no record"),
        ([SAME], False, "fp32", "not faster"),
        ([SAME, OTHER], True, "fp32", "scores otherwise in r.json"),
        ([SAME], True, "bf16", "with the scores of fp32 in r.json"),
    ],
)
def test_bf16_needs_a_record_of_this_game_with_equal_scores_and_a_device_that_is_faster(
    rows: list[dict], faster: bool, kind: str, reason: str,
    auto: Config, records: Callable[..., None], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    records(*rows, faster=faster)
    assert settled(auto, CPU).precision == kind
    said = capsys.readouterr().out
    assert said.startswith(f"precision {kind}: ")
    assert reason in said


@pytest.mark.parametrize("kind", ["fp32", "tf32", "bf16"])
def test_what_is_asked_for_is_what_is_taken(kind: str, auto: Config) -> None:
    config = auto.model_copy(update={"precision": kind})
    assert settled(config, CPU) is config


def test_a_run_goes_on_in_the_precision_in_which_it_began(tiny: Callable[..., Config], records: Callable[..., None]) -> None:
    words = "run_dir=run", "protocol=none", "precision=auto"
    records(SAME)
    train(tiny(*words, "steps=2"))
    records()
    train(tiny(*words, "steps=4"))
    assert read_json(Path("run/config.json"))["precision"] == "bf16"
    assert [session["from_step"] for session in read_json(Path("run/run.json"))["sessions"]] == [0, 2]


def test_the_device_is_timed_without_random_numbers() -> None:
    before = torch.get_rng_state()
    assert isinstance(is_faster(CPU), bool)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_record_that_the_package_ships_names_its_file() -> None:
    results = Path(__file__).parents[2] / "scripts" / "results"
    assert all((results / evidence.record).is_file() for evidence in evidences())
