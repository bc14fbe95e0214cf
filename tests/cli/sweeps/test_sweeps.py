"""Sweeps: what becomes of each job, what is said of it, and how a sweep is stopped and goes on; with the launchers that are installed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY
from sngan import registry
from sngan.__main__ import main
from sngan.cli.sweeps.gpus import claimed_gpu
from sngan.cli.sweeps.output import Prefixed
from sngan.runs.checkpoint import steps_saved

Capture = pytest.CaptureFixture[str]

FAST = [*TINY, "protocol=none"]

PLUGIN = """
from pathlib import Path
from sngan import register
from sngan.losses.hinge import hinge
from sngan.losses.loss import Loss

@register("loss", "of_a_test")
def of_a_test(*, fails: str):
    if fails == "first":
        raise RuntimeError("cannot even begin")
    def discriminator(real, fake):
        if Path("mended").exists():
            return hinge().discriminator(real, fake)
        raise KeyError("a fault")
    return Loss(discriminator=discriminator, generator=hinge().generator)
"""


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words that make `loss=of_a_test` known, which raises what no user can be blamed for."""
    monkeypatch.setitem(registry._builders, "loss", dict(registry._builders["loss"]))
    monkeypatch.delitem(sys.modules, "plugin_of_a_sweep", raising=False)
    Path("mine/loss").mkdir(parents=True)
    Path("mine/loss/of_a_test.yaml").write_text("name: of_a_test\nfails: later\n")
    Path("plugin_of_a_sweep.py").write_text(PLUGIN)
    return ["plugins=[plugin_of_a_sweep]", "--config-dir=mine"]


def runs(name: str) -> dict[str, Path]:
    """The folders of a sweep's runs, by loss and seed."""
    found = {}
    for path in Path("runs", name).glob("*/*/result.json"):
        config = json.loads(path.read_text())["config"]
        found[f"{config['loss']['name']} {config['seed']}"] = path.parent
    return found


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def table(out: str) -> list[list[str]]:
    """The rows of the summary, split at two spaces or more."""
    lines = out.splitlines()
    first = max(i for i, line in enumerate(lines) if re.match(r"\d+ jobs?: ", line))
    return [re.split(r"  +", line.strip()) for line in lines[first + 1 :] if line.startswith("  ")]


def test_a_sweep_ends_in_a_table_with_a_scored_row_for_each_job(capsys: Capture) -> None:
    assert main(["train", "-m", *TINY, "loss=hinge,bce", "seed=range(2)", "name=sweep"]) == 0
    out = capsys.readouterr().out
    assert "4 jobs: 4 finished" in out
    score = {
        name: result(folder)["scores"]["last"]["scores"]["fd_32_shapes-train_small_resnet"]
        for name, folder in runs("sweep").items()
    }
    assert table(out) == [
        [
            f"loss={loss} seed={seed}",
            "finished",
            f"fd_32_shapes-train_small_resnet {score[f'{loss} {seed}']:.4g}",
            str(runs("sweep")[f"{loss} {seed}"]),
        ]
        for loss in ("hinge", "bce")
        for seed in (0, 1)
    ]
    assert [path.name for path in Path("runs").iterdir()] == ["sweep"]


def test_a_failed_job_leaves_its_error_and_the_others_go_on(capsys: Capture) -> None:
    assert main(["train", "-m", *FAST, "loss=hinge,bce", "optimizer.lr=-1,1e-3", "name=sweep"]) == 2
    captured = capsys.readouterr()
    said = "optimizer.lr=-1: input should be greater than 0"
    assert [row[:3] for row in table(captured.out) if "failed" in row] == [
        ["loss=hinge optimizer.lr=-1", "failed", said],
        ["loss=bce optimizer.lr=-1", "failed", said],
    ]
    assert "4 jobs: 2 failed, 2 finished" in captured.out
    assert "Traceback" not in captured.err
    statuses = [
        (result(path.parent)["status"], result(path.parent)["error"]) for path in Path("runs/sweep").glob("*/*/result.json")
    ]
    assert sorted(statuses, key=str) == [("failed", said)] * 2 + [("finished", None)] * 2


def test_a_fault_of_the_program_leaves_its_traceback_and_the_others_go_on(faulty: list[str], capsys: Capture) -> None:
    assert main(["train", "-m", *FAST, *faulty, "loss=of_a_test,hinge", "name=sweep"]) == 2
    captured = capsys.readouterr()
    failed, finished = table(captured.out)
    assert failed[:3] == ["loss=of_a_test", "failed", "KeyError: 'a fault'"]
    assert finished[:2] == ["loss=hinge", "finished"]
    folder = Path(failed[3])
    trace = (folder / "traceback.txt").read_text()
    assert trace.splitlines()[0] == "Traceback (most recent call last):"
    assert trace.splitlines()[-1] == "KeyError: 'a fault'"
    assert result(folder)["error"] == "KeyError: 'a fault'"
    assert str(folder / "traceback.txt") in captured.err


def test_a_fault_before_the_run_begins_has_a_folder_too(faulty: list[str], capsys: Capture) -> None:
    assert main(["train", "-m", *FAST, *faulty, "loss=of_a_test", "loss.fails=first", "name=sweep"]) == 2
    (row,) = table(capsys.readouterr().out)
    assert row[1:3] == ["failed", "RuntimeError: cannot even begin"]
    assert sorted(path.name for path in Path(row[3]).iterdir()) == ["result.json", "traceback.txt"]
    assert result(Path(row[3]))["step"] == 0


def test_the_folder_of_another_run_is_left_alone_by_a_job_that_may_not_use_it() -> None:
    assert main(["train", *FAST, "run_dir=mine"]) == 0
    before = (Path("mine") / "result.json").read_text()
    assert main(["train", "-m", *FAST, "run_dir=mine", "loss=bce"]) == 2
    assert (Path("mine") / "result.json").read_text() == before


def test_the_same_sweep_passes_over_what_is_finished_and_tries_again_what_failed(faulty: list[str], capsys: Capture) -> None:
    words = ["train", "-m", *FAST, *faulty, "loss=of_a_test,hinge", "name=sweep"]
    assert main(words) == 2
    finished = runs("sweep")["hinge 0"]
    before = (finished / "result.json").read_text()
    Path("mended").touch()
    capsys.readouterr()
    assert main(words) == 0
    assert f"{finished} is finished" in capsys.readouterr().out
    assert (finished / "result.json").read_text() == before
    assert all(6 in steps_saved(folder / "checkpoints") for folder in runs("sweep").values())
    assert not list(Path("runs/sweep").glob("*/*/traceback.txt"))


def test_a_sweep_of_another_command_tells_what_failed_beside_its_output(capsys: Capture) -> None:
    assert main(["train", *FAST, "run_dir=run"]) == 0
    assert main(["sample", "-m", "run=run,nowhere", "n=1"]) == 2
    ran, failed = table(capsys.readouterr().err)
    assert ran == ["run=run", "finished"]
    assert failed[:2] == ["run=nowhere", "failed"]
    assert failed[2].startswith("run=nowhere: no such folder")


def sweep(*words: str) -> subprocess.Popen[str]:
    """A sweep in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sngan", "train", "-m", *FAST, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str], until: Callable[[str], bool] = lambda line: False) -> tuple[int, str]:
    """The exit code and the output of a process, which gets SIGTERM at the line where `until` says so."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if until(line):
                process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert "Traceback" not in rest, rest
    return process.returncode, "".join(lines)


def test_a_signal_saves_the_job_and_ends_the_sweep_which_goes_on_from_there() -> None:
    words = ["seed=0,1", "name=sweep", "steps=100", "save_every=0", "evaluate_every=0"]
    code, out = outcome(sweep(*words), lambda line: line.startswith("step 3/"))
    assert code == 128 + signal.SIGTERM
    assert [row[1] for row in table(out)] == ["interrupted"]
    (stopped,) = steps_saved(runs("sweep")["hinge 0"] / "checkpoints")
    assert result(runs("sweep")["hinge 0"])["status"] == "interrupted"
    assert [path.name for path in Path("runs").iterdir()] == ["sweep"]
    assert main(["train", "-m", *FAST, *words]) == 0
    sessions = json.loads((runs("sweep")["hinge 0"] / "run.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions] == [0, stopped]
    assert [result(folder)["status"] for folder in runs("sweep").values()] == ["finished", "finished"]


@pytest.mark.parametrize(("launcher", "extra"), [("joblib", ["hydra.launcher.n_jobs=2"]), ("submitit_local", [])])
def test_a_launcher_runs_jobs_in_other_processes_and_what_became_of_them_is_told(
    launcher: str, extra: list[str], faulty: list[str]
) -> None:
    process = sweep(*faulty, "loss=of_a_test,hinge", "name=sweep", f"hydra/launcher={launcher}", *extra)
    out, _ = process.communicate()
    assert process.returncode == 2
    failed, finished = table(out)
    assert failed[1:3] == ["failed", "KeyError: 'a fault'"]
    assert finished[1] == "finished"
    assert 6 in steps_saved(Path(finished[-1]) / "checkpoints")
    assert (Path(failed[-1]) / "traceback.txt").exists()


def test_a_signal_reaches_jobs_in_other_processes_which_save() -> None:
    begun: set[str] = set()

    def both_play(line: str) -> bool:
        found = re.match(r"\[(\d)\] step 5/", line)
        begun.update([found[1]] if found else [])
        return bool(found) and begun == {"0", "1"}

    code, out = outcome(
        sweep("seed=0,1,2", "steps=100000", "name=sweep", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), both_play
    )
    assert code == 128 + signal.SIGTERM
    assert [row[1] for row in table(out)] == ["interrupted", "interrupted", "not begun"]
    for folder in runs("sweep").values():
        assert result(folder)["status"] == "interrupted"
        assert result(folder)["step"] in steps_saved(folder / "checkpoints")
    assert len(runs("sweep")) == 2


def test_an_extra_that_is_not_installed_is_named() -> None:
    choices = {"hydra/launcher=joblib": "sweep", "hydra/launcher=submitit_slurm": "slurm", "sweep=search": "sweep"}
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "sys.modules['hydra_plugins'] = None; u.find_spec = lambda name, *a: None if name == 'optuna' else find(name, *a)\n"
        f"from sngan.__main__ import main; print([main(['train', '-m', choice]) for choice in {list(choices)}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[2, 2, 2]"
    lines = [
        line for line in done.stderr.splitlines() if line.startswith("sngan: ")
    ]  # Hydra 1.4 has its own about plugins it misses
    for line, extra in zip(lines, choices.values(), strict=True):
        assert line.endswith(f"needs the extra {extra}, which is not installed: pip install 'sngan[{extra}]'")


def test_a_machine_without_slurm_is_told_so(capsys: Capture) -> None:
    assert main(["train", "-m", *FAST, "hydra/launcher=submitit_slurm"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sngan: ")]
    assert "srun" in line


def test_each_job_has_a_gpu_of_its_own_until_there_are_more_jobs_than_gpus(tmp_path: Path) -> None:
    with claimed_gpu(tmp_path, 2) as first:
        with claimed_gpu(tmp_path, 2) as second, claimed_gpu(tmp_path, 2) as third:
            assert (first, second, third) == (0, 1, 0)
        with claimed_gpu(tmp_path, 2) as next_one:
            assert next_one == 1


def test_lines_of_a_job_begin_with_its_number(capsys: Capture) -> None:
    stream = Prefixed(sys.stdout, "[3] ")
    print("one", "two", file=stream)
    stream.write("half")
    stream.write(" a line\n\n")
    assert capsys.readouterr().out == "[3] one two\n[3] half a line\n[3] \n"
    assert not stream.isatty()
