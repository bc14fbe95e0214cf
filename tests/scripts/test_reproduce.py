from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shutil
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sngan
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.protocol import score_names
from sngan.files import write_json
from sngan.training.recorder import Recorder

SCRIPTS = Path(__file__).parents[2] / "scripts"
PLACE = "before\n<!-- table reproduce_cifar10 -->\nold\n<!-- /table -->\nafter\n"
SMALL = [
    "data=shapes", "data.n_train=80", "data.n_test=70", "extractor=small_resnet", "batch=4", "g_batch=4", "ema.recalibrate=1",
    "generator.widths=[8,8,8,8]", "discriminator.widths=[8,8,8]", "device=cpu", "evaluate_every=4", "protocol.metrics=[fid,is]",
]  # fmt: skip
TRIAL = ["cifar10", "--scale", "0.00004", "--only", "cifar10_cnn"]
"""Four steps of the standard CNN, scored on 64 images."""


def run_script(*words: str) -> None:
    """What `python scripts/reproduce.py WORDS` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        patch.setattr("sys.argv", ["reproduce.py", *words])
        runpy.run_path(str(SCRIPTS / "reproduce.py"), run_name="__main__")


class Trial(NamedTuple):
    """What a trial of two seeds printed, and the folder that it ran in."""

    out: str
    folder: Path


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder, out = tmp_path_factory.mktemp("trial"), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        Path("notes.md").write_text(PLACE)
        run_script(*TRIAL, "--seeds", "0", "1", "--readme", "notes.md", "--", *SMALL)
    return Trial(out.getvalue(), folder)


@pytest.fixture
def reproduced(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPTS)
    return __import__("reproduction_records")


def records(folder: Path = Path()) -> list[dict[str, Any]]:
    return json.loads((folder / "runs/reproduce/reproduce_cifar10.json").read_text())["runs"]


def test_the_expected_time_is_said_before_the_first_run(trial: Trial) -> None:
    assert (
        0
        < trial.out.index("a step, 2 runs of 4 steps")
        < trial.out.index("expected: ")
        < trial.out.index("[1 of 2] cifar10_cnn, seed 0")
    )


def test_the_table_is_written_in_its_place(trial: Trial) -> None:
    text = (trial.folder / "notes.md").read_text()
    assert text.startswith("before\n<!-- table reproduce_cifar10 -->\n| ")
    assert text.endswith("\n<!-- /table -->\nafter\n")
    (line,) = (line for line in text.splitlines() if line.startswith("| cifar10_cnn"))
    assert "`steps=4 batch=4 g_batch=4" in line  # what was changed in training is in its name
    values = [run["scores"]["paper"]["last"]["fd_10x64_shapes-test64_small_resnet"] for run in records(trial.folder)]
    assert f"**{sum(values) / 2:.2f} ± " in line
    assert "`fd_64_shapes-train64_small_resnet`" in text


def test_a_record_holds_both_protocols_of_the_last_and_the_best_checkpoint(trial: Trial) -> None:
    run = records(trial.folder)[1]
    assert (run["row"], run["seed"], run["steps"], run["error"]) == ("cifar10_cnn", 1, 4, None)
    assert run["scores"].keys() == {"paper", "standard"}
    assert all(scores.keys() == {"last", "best"} for scores in run["scores"].values())
    assert {(record["protocol"]["name"], record["protocol"]["draws"]) for record in run["records"]} == {
        ("paper", 10),
        ("standard", 1),
    }
    assert run["config"]["seed"] == 1
    assert (trial.folder / run["run"] / "checkpoints").is_dir()


def test_started_again_it_skips_what_is_recorded(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trial.folder, ".", dirs_exist_ok=True)
    run_script(*TRIAL, "--seeds", "0", "1", "2", "--", *SMALL)
    out = capsys.readouterr().out
    assert "3 runs, 2 of them recorded" in out
    assert "[1 of 1] cifar10_cnn, seed 2" in out
    assert [run["seed"] for run in records()] == [0, 1, 2]


def test_the_table_alone_runs_nothing(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trial.folder / "runs" / "reproduce", "records")
    Path("notes.md").write_text(PLACE)
    run_script("cifar10", "--table", "--results", "records", "--readme", "notes.md")
    text = Path("notes.md").read_text()
    assert [line.split("`")[0] for line in text.splitlines() if line.startswith("| cifar10")] == ["| cifar10_cnn "]
    assert not Path("runs").exists()


def test_a_run_that_was_interrupted_goes_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stepped = Recorder.stepped

    def interrupted(self: Recorder, stats: Any) -> None:
        stepped(self, stats)
        if self.run.path.parts[0] == "runs" and self.state.step == 1:  # not in the run that measures the speed
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "stepped", interrupted)
        with pytest.raises(SystemExit) as end:
            run_script(*TRIAL, "--seeds", "0", "--", *SMALL)
    assert end.value.code == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    run_script(*TRIAL, "--seeds", "0", "--", *SMALL)
    (run,) = records()
    sessions = json.loads(Path(run["run"], "run.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions][:2] == [0, 1]


def test_a_failed_run_is_recorded_the_others_go_on_and_it_is_tried_again() -> None:
    config = sngan.compose(["experiment=cifar10_cnn", "seed=0", "steps=4", *SMALL])
    config.run_dir.mkdir(parents=True)
    write_json(
        config.run_dir / "config.json", {**config.model_dump(mode="json"), "batch": 8}
    )  # of another run, which stands in its way
    with pytest.raises(SystemExit, match="1 runs failed"):
        run_script(*TRIAL, "--seeds", "0", "1", "--", *SMALL)
    assert [(run["seed"], run["error"] is None) for run in records()] == [(0, False), (1, True)]
    (config.run_dir / "config.json").unlink()
    run_script(*TRIAL, "--seeds", "0", "1", "--", *SMALL)
    assert sorted((run["seed"], run["error"]) for run in records()) == [(0, None), (1, None)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cifar10", "--scale", "0.1", "--only", "none"], r"no such row; the rows are cifar10_resnet, cifar10_cnn"),
        (["cifar10", "--scale", "0.1", "--readme", "empty.md"], r"write <!-- table reproduce_cifar10 --> and"),
        (["stl10", "--scale", "0.1"], r"STL-10 is not in data\.root=data"),
        (["table2", "--scale", "0.1", "--", "losss=bce"], r"unknown key losss"),
        (["table2", "--scale", "0.1", "--", "protocol=none"], r"the runs are scored by paper and standard; leave protocol=… out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_told_before_anything_runs(words: list[str], said: str) -> None:
    Path("empty.md").touch()
    with pytest.raises(SystemExit, match=said):
        run_script(*words)
    assert [path.name for path in Path().iterdir()] == ["empty.md"]


def test_every_row_composes_and_is_published_as_in_the_paper(reproduced: Any) -> None:
    tables = reproduced.tables()
    assert list(tables) == ["cifar10", "stl10", "table2", "table2_small", "adam_settings"]
    for table in tables.values():
        for row in table.rows:
            steps = sngan.compose(row.overrides).steps
            assert steps == 100_000 if table.name != "table2_small" else steps in (100, 500)
            assert row.published.keys() <= set(table.scores)
    rows = {row.name: list(row.published.values()) for table in tables.values() if table.scores for row in table.rows}
    assert rows["cifar10_resnet"][:2] == rows["resnet spectral_norm"] == ["8.22 ± .05", "21.7 ± .21"]
    assert rows["stl10_resnet"][:2] == ["9.10 ± .04", "40.1 ± .50"]
    assert rows["cnn wgan_gp"] == ["6.68 ± .06", "40.2"]


def test_the_names_of_published_scores_are_those_that_the_protocols_give(reproduced: Any) -> None:
    inception = Extractor(label="inception", weights=Path("w.pth"), sha256="0", distance="fid", network=lambda path: None)
    sizes = {"cifar10": {"train": 50_000, "test": 10_000}, "stl10": {"train": 100_000, "test": 8_000}}
    for table in reproduced.tables().values():
        names = []
        for protocol in table.protocols:
            more = table.paper if protocol == "paper" else ()
            config = sngan.compose([*table.rows[0].overrides, f"protocol={protocol}", *more])
            assert config.protocol is not None
            given = {"reference": config.data.name, "n_available": sizes[config.data.name][config.protocol.reference]}
            names += score_names(config.protocol, extractor=inception, **given).values()
        assert set(table.scores) <= set(names)


def run_of(seed: int, value: float, *more: str, row: str = "cifar10_cnn") -> dict[str, Any]:
    """A record of a run at full scale."""
    scores = {"standard": {"last": {"fid_50k_cifar10-train_inception": value, "kid_50k_cifar10-train_inception": 0.1}}}
    overrides = [f"experiment={row}", f"seed={seed}", *more]
    return {"row": row, "seed": seed, "overrides": overrides, "steps": 100_000, "device": "a GPU", "error": None, "scores": scores}


def test_a_line_has_the_mean_and_the_deviation_over_seeds_beside_what_is_published(reproduced: Any) -> None:
    runs = [run_of(seed, value, row="cifar10_resnet") for seed, value in ((0, 14.0), (1, 16.0))]
    write_json(Path("records.json"), {"runs": runs})
    text = reproduced.markdown(reproduced.tables()["cifar10"], reproduced.Records(Path("records.json")))
    assert "| cifar10_resnet | 2 | **15.00 ± 1.41** (14.21¹) |" in text
    assert "after 100,000 steps on a GPU" in text
    assert "kid_" not in text.splitlines()[0]


def test_runs_that_were_trained_in_another_way_have_a_line_of_their_own(reproduced: Any) -> None:
    runs = [run_of(0, 20.0), run_of(1, 22.0, "data.root=/elsewhere", "device=cuda"), run_of(0, 30.0, "precision=bf16")]
    write_json(Path("records.json"), {"runs": runs})
    text = reproduced.markdown(reproduced.tables()["cifar10"], reproduced.Records(Path("records.json")))
    assert "| cifar10_cnn | 2 | **21.00 ± 1.41** |" in text
    assert "| cifar10_cnn `precision=bf16` | 1 | **30.00** |" in text


def test_the_readme_has_a_place_for_each_table(reproduced: Any) -> None:
    text = (SCRIPTS.parent / "README.md").read_text()
    for name in reproduced.tables():
        assert reproduced.between(text, name)
