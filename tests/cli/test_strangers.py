"""A stranger's run folder as the commands meet it: links that lead out of it, pipes, and JSON of another kind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import TINY
from sngan.__main__ import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    """A command that blocks ends the test."""
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.fixture
def run(sweep: Path) -> Path:
    """A finished run of six steps, to be changed."""
    return Path(shutil.copytree(sweep / "loss-hinge" / "seed0", "run"))


TRAIN = ["train", *TINY, "run_dir=run", "loss=hinge", "seed=0", "steps=7", "sample_every=3", "protocol=none"]
CHECKPOINT = "checkpoint=run/checkpoints/step-00000006"
COMMANDS = {
    "train": TRAIN,
    "report": ["report", "run", "out=run.csv"],
    "evaluate": ["evaluate", "run=run", "all=true", "device=cpu"],
    "sample": ["sample", CHECKPOINT, "n=2", "device=cpu"],
    "doctor": ["doctor", CHECKPOINT, "n=8", "features=false", "device=cpu"],
    "inspect": ["inspect", CHECKPOINT, "n=0", "plot=none", "device=cpu"],
}  # fmt: skip


def answer(command: str, capsys: Capture) -> str:
    """What a command says that is to fail."""
    assert main(COMMANDS[command]) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    assert said.startswith("sngan: ")
    assert len(said.splitlines()) <= 2
    return said


def test_a_run_that_goes_on_writes_through_no_link(run: Path) -> None:
    victim = Path("victim").absolute()
    victim.write_text("mine")
    names = [f".partial-{name}" for name in ("config.json", "run.json", "scalars.jsonl", "metrics.jsonl", "result.json")]
    for name in (
        *names,
        "result.json",
        "traceback.txt",
        "samples/step-00000007.png",
        "samples/.partial-step-00000007.png",
        "samples/latest.png",
        "samples/.partial-latest.png",
    ):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(victim)
    (run / "checkpoints/.partial-step-00000007").symlink_to(Path().absolute())
    (run / "result.json").unlink()
    assert main([*TRAIN, "sample_every=7"]) == 0
    assert victim.read_text() == "mine"
    assert not (run / "samples/step-00000007.png").is_symlink()
    assert not (run / "checkpoints/.partial-step-00000007").exists()


@pytest.mark.parametrize("name", [".lock", "samples", "checkpoints"])
def test_a_run_whose_folder_or_lock_is_a_link_is_refused(name: str, run: Path, capsys: Capture) -> None:
    (run / name).rename("elsewhere")
    if name == ".lock":
        Path("elsewhere").write_text("mine")
    before = sorted(Path("elsewhere").rglob("*"))
    (run / name).symlink_to(Path("elsewhere").absolute())
    assert "link" in answer("train", capsys)
    assert sorted(Path("elsewhere").rglob("*")) == before
    assert name != ".lock" or Path("elsewhere").read_text() == "mine"


def test_samples_are_written_past_links(run: Path) -> None:
    Path("victim").write_text("mine")
    Path("samples").mkdir()
    for name in ("00000.png", "grid.png", ".partial-grid.png"):
        Path("samples", name).symlink_to(Path("victim").absolute())
    assert main(COMMANDS["sample"]) == 0
    assert Path("victim").read_text() == "mine"
    assert not [path for path in Path("samples").iterdir() if path.is_symlink()]


def test_a_report_shows_no_picture_that_a_link_leads_to(run: Path) -> None:
    for path in (run / "samples").iterdir():
        path.rename(path.name)
        path.symlink_to(Path(path.name).absolute())
    shutil.rmtree(run / "checkpoints")
    assert main(["report", "run", "neighbours=0", "out=page.html"]) == 0
    assert "data:image" not in Path("page.html").read_text()


MANIFEST = "checkpoints/step-00000006/checkpoint.json"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("config.json", "report"),
        ("run.json", "train"),
        ("scalars.jsonl", "train"),
        ("metrics.jsonl", "evaluate"),
        (MANIFEST, "sample"),
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_told(name: str, command: str, run: Path, capsys: Capture) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    assert "it is no regular file" in answer(command, capsys)


@pytest.mark.parametrize(
    ("name", "content", "commands"),
    [
        ("config.json", "[1]", ["report"]),
        ("run.json", '{"sessions": {"a": 1}}', ["train", "report"]),
        ("result.json", '{"status": "finished", "scores": {"last": 1}}', ["report"]),
        ("metrics.jsonl", '{"step": 6, "scores": {"fid": "low"}}\n', ["train", "report", "evaluate"]),
        ("metrics.jsonl", '{"step": 6, "by": [[[]]]}\n', ["train", "report", "evaluate"]),
        ("scalars.jsonl", '{"step": 6, "sigma": 1}\n', ["train", "report"]),
        (MANIFEST, "[" * 10**5, ["sample", "inspect", "doctor"]),
    ],
)  # fmt: skip
def test_json_of_another_kind_is_told_by_every_command(
    name: str, content: str, commands: list[str], run: Path, capsys: Capture
) -> None:
    (run / name).write_text(content)
    for command in commands:
        assert Path(name).name in answer(command, capsys)
