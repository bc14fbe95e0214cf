"""`hydra/sweeper=optuna`: searches, with Optuna itself."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from conftest import TINY
from sngan.__main__ import main

Load = Callable[[], Any]

FAST = [*(word for word in TINY if not word.startswith("batch")), "name=hunt"]


@pytest.fixture
def study() -> Iterator[Load]:
    """Gives the only study there is, as it is when called."""
    opened = []

    def load() -> Any:
        opened.append(optuna.storages.RDBStorage("sqlite:///runs/hunt/search.db"))
        (name,) = optuna.get_all_study_names(opened[-1])
        return optuna.load_study(study_name=name, storage=opened[-1])

    yield load
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()


def objective(folder: Path) -> float:
    quick = json.loads((folder / "result.json").read_text())["quick"]
    return next(iter(quick["scores"].values()))


def search(*words: str) -> int:
    return main(["train", "-m", *FAST, *words])


def test_a_search_minimises_the_best_quick_distance_over_the_space_that_ships(
    study: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search("sweep=search", "batch=4,8", "hydra.sweeper.n_trials=2") == 0
    assert study().direction.name == "MINIMIZE"
    assert {tuple(trial.params) for trial in study().trials} == {("optimizer.lr", "optimizer.betas", "d_steps", "batch")}
    assert all(5e-5 <= trial.params["optimizer.lr"] <= 2e-3 for trial in study().trials)
    values = [objective(path) for path in Path("runs/hunt").glob("*/seed0")]
    assert sorted(trial.value for trial in study().trials) == sorted(values)
    out = capsys.readouterr().out
    assert f"best of 2 trials: fd_32_shapes-train_small_resnet {min(values):.4g} with optimizer.lr=" in out
    assert "2 jobs: 2 finished" in out


def test_the_same_search_goes_on_and_a_finished_one_ends_at_once(study: Load, capsys: pytest.CaptureFixture[str]) -> None:
    space = ["hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-4,1e-2))"]
    assert search(*space, "hydra.sweeper.n_trials=1") == 0
    assert search(*space, "hydra.sweeper.n_trials=2") == 0
    first, second = study().trials
    assert first.params != second.params
    capsys.readouterr()
    assert search(*space, "hydra.sweeper.n_trials=2") == 0
    out = capsys.readouterr().out
    assert "2 of 2 trials have a score" in out
    assert "step 1/" not in out
    assert len(study().trials) == 2


def test_a_score_that_should_be_large_is_maximised(study: Load) -> None:
    assert search("hydra/sweeper=optuna", "d_steps=1,2", "quick.metrics=[is]", "hydra.sweeper.n_trials=1") == 0
    assert study().direction.name == "MAXIMIZE"


def test_a_failed_trial_has_no_score_and_another_takes_its_place_the_next_time(
    study: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    space = ["hydra/sweeper=optuna", "optimizer.lr=interval(-0.02,-0.01)", "hydra.sweeper.n_trials=2"]
    assert search(*space) == 2
    assert [trial.state.name for trial in study().trials] == ["FAIL", "FAIL"]
    assert "no trial has a score" in capsys.readouterr().out
    assert search(*space) == 2
    assert len(study().trials) == 4


def test_a_study_may_be_in_memory_and_a_storage_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["hydra/sweeper=optuna", "d_steps=1,2", "hydra.sweeper.n_trials=1"]
    assert search(*words, "hydra.sweeper.storage=null") == 0
    assert not Path("runs/hunt/search.db").exists()
    assert search(*words, "hydra.sweeper.storage=here") == 2
    assert "hydra.sweeper.storage=here: Could not parse SQLAlchemy URL" in capsys.readouterr().err


def test_an_interrupted_trial_goes_on_with_the_same_command(study: Load) -> None:
    words = [
        "hydra/sweeper=optuna",
        "d_steps=range(1,3)",
        "steps=100",
        "evaluate_every=50",
        "save_every=0",
        "hydra.sweeper.n_trials=1",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "sngan", "train", "-m", *FAST, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert any(re.match("step 3/", line) for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert [trial.state.name for trial in study().trials] == ["RUNNING"]
    assert search(*words) == 0
    (trial,) = study().trials
    (run,) = Path("runs/hunt").glob("*/seed0")
    assert trial.value == objective(run)
    assert [session["from_step"] > 0 for session in json.loads((run / "run.json").read_text())["sessions"]] == [False, True]
