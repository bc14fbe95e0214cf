from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch

from conftest import events
from sngan.files import append_line, read_lines
from sngan.training.log import History, RunLog


def row(value: float) -> dict[str, torch.Tensor]:
    return {"D_loss": torch.tensor(value), "G_loss": torch.tensor(-value)}


def test_history_gives_the_mean_of_the_steps_since_the_last_reading() -> None:
    history = History()
    for value in (1.0, 2.0, 6.0):
        history.append(row(value))
    assert history.means() == {"D_loss": 3.0, "G_loss": -3.0}
    history.clear()
    assert history.means() == {}
    history.append(row(5.0))
    assert history.means() == {"D_loss": 5.0, "G_loss": -5.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_history_knows_the_first_step_that_was_not_finite(value: float) -> None:
    history = History()
    for D_loss, G_loss in ((1.0, 1.0), (1.0, value), (2.0, 2.0), (value, value)):
        history.append({"D_loss": torch.tensor(D_loss), "G_loss": torch.tensor(G_loss)})
    assert history.first_broken() == (1, "G_loss")
    history.clear()
    history.append(row(1.0))
    assert history.first_broken() is None


def test_appending_to_the_history_never_waits_for_the_device() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Refuse(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            assert func is not torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    history = History()
    rows = [row(1.0), row(2.0)]
    with Refuse():
        for each in rows:
            history.append(each)


def test_a_line_cut_short_by_a_kill_is_left_out() -> None:
    path = Path("lines.jsonl")
    append_line(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2, "D_lo')
    assert read_lines(path) == [{"step": 1}]


def test_opening_at_a_step_forgets_what_came_after_it_but_not_scores_of_checkpoints(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        append_line(tmp_path / "scalars.jsonl", {"step": step})
    append_line(tmp_path / "metrics.jsonl", {"step": 3, "by": "train", "scores": {}})
    append_line(tmp_path / "metrics.jsonl", {"step": 3, "by": "evaluate", "scores": {}})
    RunLog(tmp_path, step=2, steps=5, images_per_step=1).close()
    assert [line["step"] for line in read_lines(tmp_path / "scalars.jsonl")] == [1, 2]
    assert [line["by"] for line in read_lines(tmp_path / "metrics.jsonl")] == ["evaluate"]


def test_paused_time_is_no_training_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]  # a clock that moves when it is told to; a whole run is timed so in test_recorder.py
    monkeypatch.setattr("sngan.training.log.time.monotonic", lambda: now[0])
    log = RunLog(tmp_path, step=0, steps=5, images_per_step=10)
    now[0] += 2.0
    with log.paused():
        now[0] += 100.0
    log.scalars(4, {}, sigmas={"linear": 1.5})
    log.close()
    (line,) = read_lines(tmp_path / "scalars.jsonl")
    assert (line["step"], line["images_per_s"], line["sigma"]) == (4, 20.0, {"linear": 1.5})


def test_the_line_of_a_step_says_how_long_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("sngan.training.log.time.monotonic", lambda: now[0])
    log = RunLog(tmp_path, step=10, steps=8000, images_per_step=10)
    for step in (20, 7000, 7950):
        now[0] += 5.0
        log.scalars(step, {"D_loss": 0.5, "lr": 1.0}, sigmas={})
    log.close()
    assert capsys.readouterr().out.splitlines() == [
        "step 20/8000  D_loss 0.500  img/s 20  1:06:30 left",
        "step 7000/8000  D_loss 0.500  img/s 13960  0:01 left",
        "step 7950/8000  D_loss 0.500  img/s 1900  0:00 left",
    ]
    assert [line["images_per_s"] for line in read_lines(tmp_path / "scalars.jsonl")] == [20.0, 13960.0, 1900.0]


def test_what_is_logged_is_on_the_board_too(tmp_path: Path) -> None:
    """A score at once, so that a kill does not part the two; sigma and scalars with the next flush."""
    log = RunLog(tmp_path, step=0, steps=5, images_per_step=1)
    log.scalars(2, {"D_loss": 0.5}, sigmas={"D/linear": 1.5})
    record = {"step": 2, "role": "full", "weights": "ema", "scores": {"fid_x": 3.0}}
    log.scores(2, record)
    read = events(tmp_path)
    assert [event.value for event in read.Scalars("full/fid_x")] == [3.0]
    assert [event.value for event in read.Scalars("sigma/D/linear")] == [1.5]
    log.image(2, torch.zeros(3, 4, 4, dtype=torch.uint8))
    assert [event.step for event in events(tmp_path).Images("samples")] == [2]
    log.close()
    (line,) = read_lines(tmp_path / "metrics.jsonl")
    assert abs(line.pop("time") - time.time()) < 60
    assert line == record


def test_the_newest_grid_has_one_name_all_along(tmp_path: Path) -> None:
    def latest() -> bytes:
        return (tmp_path / "samples/latest.png").read_bytes()

    log = RunLog(tmp_path, step=0, steps=5, images_per_step=1)
    assert not log.latest.exists()
    for step in (0, 3):
        log.image(step, torch.full((3, 4, 4), 50 * step, dtype=torch.uint8))
        assert latest() == log.picture(step).read_bytes()
    log.close()
    RunLog(tmp_path, step=2, steps=5, images_per_step=1).close()  # what came after step 2 is made again
    assert latest() == log.picture(0).read_bytes()
    log.picture(0).unlink()
    RunLog(tmp_path, step=2, steps=5, images_per_step=1).close()
    assert not log.latest.exists()
