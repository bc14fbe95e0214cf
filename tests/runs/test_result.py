"""`result.json`: how a run ended; and that a finished run is passed over."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sngan import Config, UserError
from sngan.data.shapes import Shapes
from sngan.errors import Interrupted
from sngan.files import read_json, read_lines
from sngan.runs.folder import RunFolder
from sngan.runs.result import ending, finished, write_failure
from sngan.state import TrainState
from sngan.training import engine
from sngan.training.loop import train

Tiny = Callable[..., Config]


def result(run: str = "run") -> dict[str, Any]:
    return read_json(Path(run, "result.json"))


def at_step(step: int, act: Callable[[TrainState], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Something happens before a training step, which then goes on."""
    play = engine.train_step

    def watched(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        if state.step == step:
            act(state)
        return play(state, *args, **kwargs)

    monkeypatch.setattr(engine, "train_step", watched)


def break_down(state: TrainState) -> None:
    raise RuntimeError("the GPU fell off the bus")


def test_a_finished_run_says_what_came_out_and_of_what(tiny: Tiny) -> None:
    config = tiny("run_dir=run")
    train(config)
    said = result()
    assert (said["status"], said["error"], said["step"], said["steps"], said["device"]) == ("finished", None, 6, 6, "cpu")
    assert said["config"] == config.model_dump(mode="json")
    assert said["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    records = read_lines(Path("run/metrics.jsonl"))
    quick = [line for line in records if line["role"] == "quick"]
    assert said["quick"] == min(quick, key=lambda line: line["scores"]["fd_32_shapes-train_small_resnet"])
    assert said["scores"] == {
        "last": next(line for line in records if line["role"] == "full" and line["step"] == 6),
        "best": next(line for line in records if line["role"] == "full" and line["step"] == said["quick"]["step"]),
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ("finished", None)),
        (Interrupted(signal.SIGTERM), ("interrupted", None)),
        (KeyboardInterrupt(), ("interrupted", None)),
        (SystemExit(143), ("interrupted", None)),
        (UserError("no such data"), ("failed", "no such data")),
        (MemoryError("too large"), ("failed", "MemoryError: too large")),
    ],
    ids=repr,
)
def test_who_asks_to_stop_is_no_failure(error: BaseException | None, expected: tuple[str, str | None]) -> None:
    assert ending(error) == expected


def test_a_run_without_scores_has_none(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    assert (result()["status"], result()["scores"], result()["quick"]) == ("finished", {}, None)


def test_a_run_that_goes_on_has_no_result(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    seen = []
    at_step(7, lambda state: seen.append(Path("run/result.json").exists()), monkeypatch)
    train(tiny("run_dir=run", "protocol=none", "steps=9"))
    assert seen == [False]
    assert result()["step"] == 9


def test_seconds_are_those_of_all_sessions(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(3, lambda state: os.kill(os.getpid(), signal.SIGTERM), patch)
        with pytest.raises(Interrupted):
            train(tiny("run_dir=run", "protocol=none"))
    first = result()
    assert (first["status"], first["error"], first["step"]) == ("interrupted", None, 4)
    sessions = read_json(Path("run/run.json"))
    sessions["sessions"][0]["seconds"] = 1000.0
    Path("run/run.json").write_text(json.dumps(sessions))
    train(tiny("run_dir=run", "protocol=none"))
    assert 1000.0 < result()["seconds"] < 1100.0


def test_a_kill_loses_no_more_of_the_seconds_than_of_the_training(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = []
    at_step(5, lambda state: noted.append(json.loads(Path("run/run.json").read_text())["sessions"][0]["seconds"]), monkeypatch)
    train(tiny("run_dir=run", "protocol=none"))
    assert 0.0 < noted[0] < result()["seconds"]


def test_a_users_error_is_told_and_nothing_more(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(4, lambda state: next(state.D.parameters()).data.fill_(float("nan")), monkeypatch)
    with pytest.raises(UserError) as error:
        train(tiny("run_dir=run", "protocol=none"))
    assert (result()["status"], result()["error"]) == ("failed", str(error.value))
    assert not Path("run/traceback.txt").exists()


def test_a_fault_of_the_program_leaves_its_traceback_until_the_run_goes_on(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(4, break_down, patch)
        with pytest.raises(RuntimeError):
            train(tiny("run_dir=run", "protocol=none"))
    assert (result()["status"], result()["error"]) == ("failed", "RuntimeError: the GPU fell off the bus")
    assert Path("run/traceback.txt").read_text().endswith("RuntimeError: the GPU fell off the bus\n")
    train(tiny("run_dir=run", "protocol=none"))
    assert result()["status"] == "finished"
    assert not Path("run/traceback.txt").exists()


def test_a_finished_run_is_passed_over_before_any_image_is_read(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = train(tiny("run_dir=run"))
    monkeypatch.setattr(Shapes, "load", break_down)  # as a witness: it is not called
    assert train(tiny("run_dir=run", "log_every=3", "resume=force")) == first
    assert "run is finished: fd_32_shapes-train_small_resnet" in capfd.readouterr().out
    assert len(json.loads(Path("run/run.json").read_text())["sessions"]) == 1


def test_a_finished_run_is_looked_at_again_for_other_scores_or_a_lost_checkpoint(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    assert finished(tiny("run_dir=run", "protocol=none"))
    assert not finished(tiny("run_dir=run"))
    assert not finished(tiny("run_dir=run", "protocol=none", "steps=7"))
    assert not finished(tiny("run_dir=run", "protocol=none", "loss=bce"))
    assert train(tiny("run_dir=run"))["last"]
    shutil.rmtree("run/checkpoints/step-00000006")
    assert not finished(tiny("run_dir=run"))


def test_a_failure_before_the_run_is_noted_in_a_folder_of_nobody(tiny: Tiny) -> None:
    config = tiny("run_dir=run")
    write_failure(Path("run"), UserError("no such data"), config.model_dump(mode="json"))
    assert (result()["status"], result()["error"], result()["step"]) == ("failed", "no such data", 0)
    train(config)
    assert result()["status"] == "finished"
    with RunFolder(tiny("run_dir=other")):
        write_failure(Path("other"), UserError("in use"), config.model_dump(mode="json"))
        assert not Path("other/result.json").exists()
