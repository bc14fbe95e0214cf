"""Commands of a user who may read a run and not write there: one line, and nothing is left."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import TINY, finished_run
from sngan.__main__ import main

NOBODY = 65534

GAME = [*TINY, "protocol=none"]


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Within it nothing in the folder may be written by this process, also where it is root's."""
    root = os.geteuid() == 0
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that others reach, which pytest's own are not, with a run of six steps."""
    path = Path(tempfile.mkdtemp())
    finished_run(path, "protocol=none")
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", *GAME, "run_dir=new"], "run_dir=new cannot be written (Permission denied); give another run_dir=DIR"),
        (["train", *GAME, "run_dir=run", "steps=8"], "run_dir=run cannot be written (Permission denied); give another run_dir=DIR"),
        (["train", "-m", *GAME, "seed=0,1"], "a sweep keeps notes in runs/.sweep, which cannot be written (Permission denied);"),
        (["sample", "run=run", "n=2", "out=samples"], "out=samples cannot be written (Permission denied); give another out=DIR"),
        (["sample", "run=run", "n=2", "mode=interpolate", "out=walk.gif"], "out=walk.gif cannot be written (Permission denied)"),
        (["evaluate", "run=run", "protocol=quick"], "run/metrics.jsonl, where the score is recorded, cannot be written (Permission denied)"),
        (["inspect", "run=run"], "cannot be written (Permission denied); give another plot=FILE, or plot=none"),
        (["benchmark", *GAME, "variants=[textbook]", "rounds=1", "out=speed.json"], "out=speed.json cannot be written (Permission denied)"),
        (["report", "run"], "out=run/report.html cannot be written (Permission denied); give another out=FILE"),
    ],
    ids=lambda value: " ".join(word for word in value if word not in GAME) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_told_in_a_line(
    words: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    with without_rights(folder):
        assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len([line for line in err.splitlines() if line.startswith("sngan: ")]) == 1
    assert "Traceback" not in err
    assert sorted(folder.rglob("*")) == before
