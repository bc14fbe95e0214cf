"""What TensorBoard reads of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import event_steps, events
from sngan import Config, train
from sngan.files import read_lines
from sngan.state import TrainState
from sngan.training import engine
from sngan.training.board import LAYOUT, hyperparameters

Tiny = Callable[..., Config]


def crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run dies at this step; the steps before it are the real ones."""
    play = engine.train_step

    def fragile(state: TrainState, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        if state.step == step:
            raise RuntimeError("the power went out")
        return play(state, *args, **kwargs)

    monkeypatch.setattr(engine, "train_step", fragile)


def test_curves_are_those_of_the_files(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "sample_every=3"))
    read = events(Path("run"))
    for name in ("D_loss", "real_logits", "lr"):
        expected = [(line["step"], line[name]) for line in read_lines(Path("run/scalars.jsonl"))]
        found = [(event.step, event.value) for event in read.Scalars(f"train/{name}")]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
    assert event_steps(Path("run"))["samples"] == [0, 3, 6]


@pytest.mark.parametrize("step", [1, 3, 4, 5])
def test_a_run_that_was_resumed_has_no_event_twice(step: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny("run_dir=whole", "sample_every=3"))
    with monkeypatch.context() as patch:
        crash_at(step, patch)
        with pytest.raises(RuntimeError, match="power"):
            train(tiny("run_dir=resumed", "sample_every=3"))
    train(tiny("run_dir=resumed", "sample_every=3"))
    assert event_steps(Path("resumed")) == event_steps(Path("whole"))


def test_events_are_derived_anew_from_the_other_files(tiny: Tiny) -> None:
    """Whatever has become of them, and with the times at which they were."""
    train(tiny("run_dir=run", "sample_every=3"))
    before, times = event_steps(Path("run")), [event.wall_time for event in events(Path("run")).Scalars("train/D_loss")]
    (file,) = Path("run").glob("events.out.tfevents.*")
    file.write_bytes(file.read_bytes()[:1000])
    train(tiny("run_dir=run", "sample_every=3", "protocol.n=16"))  # another full score, and no step
    (only,) = Path("run").glob("events.out.tfevents.*")
    assert only != file
    found = event_steps(Path("run"))
    assert {tag: found[tag] for tag in before} == {**before, "config/text_summary": [0, 6]}
    assert "full/fd_16_shapes-train_small_resnet" in found
    assert [event.wall_time for event in events(Path("run")).Scalars("train/D_loss")] == pytest.approx(times, abs=0.1)
    assert events(Path("run")).Images("samples")[0].encoded_image_string == Path("run/samples/step-00000000.png").read_bytes()


def test_a_clock_that_was_set_back_changes_nothing_but_times(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny("run_dir=whole", "protocol=none"))
    train(tiny("run_dir=run", "protocol=none", "steps=3"))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    train(tiny("run_dir=run", "protocol=none"))
    found = event_steps(Path("run"))
    assert found.pop("config/text_summary") == [0, 3]
    assert found == {tag: steps for tag, steps in event_steps(Path("whole")).items() if tag != "config/text_summary"}
    times = [line["time"] for line in read_lines(Path("run/scalars.jsonl"))]
    assert times[3] < times[2]


def test_a_config_that_has_changed_is_shown_where_it_began_to_hold(tiny: Tiny) -> None:
    train(tiny("run_dir=run", "protocol=none"))
    train(tiny("run_dir=run", "protocol=none", "steps=8"))
    shown = events(Path("run")).Tensors("config/text_summary")
    assert [event.step for event in shown] == [0, 6]
    assert '"steps": 8' in shown[1].tensor_proto.string_val[0].decode()


def test_the_config_is_there_as_hyperparameters_and_the_charts_are_laid_out(tiny: Tiny) -> None:
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    train(tiny("run_dir=run", "loss=bce", "seed=3", "protocol=none"))
    read = events(Path("run"))
    shown = parse_session_start_info_plugin_data(read.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content).hparams
    assert (shown["loss.name"].string_value, shown["seed"].number_value, shown["optimizer.lr"].number_value) == ("bce", 3, 1e-3)
    assert not {"run_dir", "log_every", "data.workers"} & set(shown)
    (layout,) = read.Tensors("custom_scalars__config__")
    assert all(title in str(layout.tensor_proto.string_val[0], errors="replace") for title in LAYOUT)


def test_the_score_of_the_last_checkpoint_is_the_last_event(tiny: Tiny) -> None:
    """TensorBoard shows the last one beside the hyperparameters, and drops what lies behind an event of a smaller step."""
    train(tiny("run_dir=run", "optimizer.lr=1.0"))  # at which G only gets worse: the best is an earlier one
    assert event_steps(Path("run"))["full/fd_32_shapes-train_small_resnet"] == [3, 6]


def test_hyperparameters_are_numbers_or_text() -> None:
    config = {
        "steps": 3,
        "keep": {"last": 2},
        "optimizer": {"betas": [0.0, 0.9], "lr": 1e-3},
        "weight_clip": None,
        "conditional": True,
    }
    assert hyperparameters(config) == {
        "steps": 3,
        "optimizer.betas": json.dumps([0.0, 0.9]),
        "optimizer.lr": 1e-3,
        "conditional": "true",
    }
