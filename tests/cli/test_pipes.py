"""Output that is cut: `sngan … | head`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY
from sngan.files import read_json


def cut(*words: str, after: int) -> tuple[int, str]:
    """Runs a command whose reader leaves after so many lines: its exit code, and what it says on standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "sngan", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        for _ in range(after):
            assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    return process.returncode, said


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["train", "--help", "all"]], ids=" ".join)
def test_a_reader_that_leaves_ends_a_command_without_a_word(words: list[str]) -> None:
    assert cut(*words, after=0) == (141, "")


def test_a_training_whose_reader_leaves_is_interrupted_and_resumes() -> None:
    words = ["train", *TINY, "protocol=none", "run_dir=run", "steps=40"]
    code, said = cut(*words, after=1)
    assert code == 141
    assert "Traceback" not in said
    assert read_json(Path("run/result.json"))["status"] == "interrupted"
    assert not Path("run/traceback.txt").exists()
    subprocess.run([sys.executable, "-m", "sngan", *words], check=True, capture_output=True)
    assert read_json(Path("run/result.json"))["status"] == "finished"
