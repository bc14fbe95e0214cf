"""Runs of earlier versions go on, are reported, and are never mixed with what is scored in another way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conftest import composed
from sngan import Config, train
from sngan.__main__ import main
from sngan.files import read_json, read_lines, write_json
from sngan.provenance import sha256_of
from sngan.report.comparable import measures, titles
from sngan.runs.checkpoint import load_discriminator, open_checkpoint, steps_saved
from sngan.runs.run import read_run

RUN = Path("run")
FORMATS = Path(__file__).with_name("formats")
"""Runs of two steps, of each earlier format, as the versions of their time left them (without samples and events)."""

SMALLEST = [
    "steps=2", "batch=4", "g_batch=4", "generator.widths=[8,4,4,4]", "generator.z_dim=8", "discriminator=cnn", "discriminator.widths=[4,4,4]",
    "optimizer.decay=none", "data.n_train=64", "data.n_test=16", "ema.recalibrate=2", "log_every=1", "sample_every=0", "save_every=2",
    "evaluate_every=2", "quick.n=16", "protocol.n=16", "device=cpu", "run_dir=run",
]  # fmt: skip
GAMES = {"2": ["discriminator.scale=learned"], "3": []}


@pytest.mark.parametrize("number", GAMES)
def test_a_run_of_an_earlier_format_goes_on_is_scored_and_reported(number: str) -> None:
    shutil.copytree(FORMATS / number, RUN)
    newest = RUN / "checkpoints" / "step-00000002"
    assert read_json(newest / "checkpoint.json")["format"] == f"sngan-checkpoint-{number}"
    before = read_run(RUN)
    assert [(record.step, record.protocol["rounding"], record.protocol["draws"]) for record in before.records][:2] == [
        (0, "nearest", 1),
        (2, "nearest", 1),
    ]
    D = load_discriminator(open_checkpoint(newest))
    for name, tensor in load_file(newest / "discriminator.safetensors").items():
        assert torch.equal(D.network.state_dict()[name], tensor), name
    assert main(["evaluate", "run=run", "device=cpu"]) == 0
    scored = read_lines(RUN / "metrics.jsonl")[-1]
    assert scored["by"] == "evaluate"
    assert scored["protocol"]["rounding"] == "nearest"
    train(composed(*SMALLEST, *GAMES[number], "steps=3"))
    assert [session["from_step"] for session in read_json(RUN / "run.json")["sessions"]] == [0, 2]
    assert list(steps_saved(RUN / "checkpoints")) == [2, 3]


def without_rounding(values: Any) -> Any:
    """JSON as the version before wrote it."""
    if isinstance(values, dict):
        return {key: without_rounding(value) for key, value in values.items() if key != "rounding" or "/" in str(value)}
    return [without_rounding(value) for value in values] if isinstance(values, list) else values


@pytest.fixture
def earlier_run(tiny: Callable[..., Config]) -> Path:
    """A finished run of `sngan-checkpoint-3`."""
    train(tiny("run_dir=run", "protocol.rounding=nearest", "quick.rounding=nearest", "keep.last=9"))
    for path in RUN.rglob("*.json"):
        write_json(path, without_rounding(read_json(path)))
    lines = [without_rounding(line) for line in read_lines(RUN / "metrics.jsonl")]
    (RUN / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in RUN.rglob("checkpoint.json"):
        manifest = read_json(path) | {"format": "sngan-checkpoint-3"}
        manifest["sha256"]["config.json"] = sha256_of(path.with_name("config.json"))
        write_json(path, manifest)
    return RUN


def scored(role: str) -> list[tuple[int, str | None]]:
    """Step and rounding of each of the run's scores."""
    lines = read_lines(RUN / "metrics.jsonl")
    return [(line["step"], line["protocol"].get("rounding")) for line in lines if line["role"] == role]


def test_an_earlier_run_goes_on_with_the_scores_of_now(earlier_run: Path, tiny: Callable[..., Config]) -> None:
    before = scored("quick")
    assert before == [(3, None), (6, None)]
    train(tiny("run_dir=run", "steps=9", "keep.last=9"))
    assert scored("quick") == [*before, (6, "inverse"), (9, "inverse")]
    assert read_json(RUN / "config.json")["protocol"]["rounding"] == "auto"


def test_an_earlier_run_goes_on_with_its_own_scores_where_its_rounding_is_asked_for(
    earlier_run: Path, tiny: Callable[..., Config]
) -> None:
    before = scored("full")
    files = (RUN / "metrics.jsonl").read_bytes()
    nearest = ["run_dir=run", "protocol.rounding=nearest", "quick.rounding=nearest", "keep.last=9"]
    train(tiny(*nearest))
    assert (RUN / "metrics.jsonl").read_bytes() == files, "nothing is left to do"
    train(tiny(*nearest, "steps=9"))
    assert scored("full")[: len(before)] == before
    assert scored("quick")[-1] == (9, "nearest")


def test_a_report_keeps_scores_of_different_rounding_apart(earlier_run: Path, tiny: Callable[..., Config]) -> None:
    train(tiny("run_dir=run", "keep.last=9"))
    found = [measure for measure in measures([read_run(earlier_run)]) if measure.name == "fd_32_shapes-train_small_resnet"]
    assert [json.loads(measure.how)["protocol"]["rounding"] for measure in found] == ["nearest", "inverse"]
    assert sorted(titles(found).values()) == [
        f"fd_32_shapes-train_small_resnet, protocol.rounding {how}" for how in ("inverse", "nearest")
    ]


def test_a_report_takes_earlier_scores_for_what_they_are(earlier_run: Path, tiny: Callable[..., Config]) -> None:
    train(tiny("run_dir=other", "protocol.rounding=nearest", "quick.rounding=nearest"))
    old, new = (read_run(path) for path in (earlier_run, Path("other")))
    assert measures([old]) == measures([new])
