from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from safetensors import safe_open

from sngan.evaluation.extractors.small_resnet import small_resnet

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_extractor.py"
SHAPES = ["data=shapes", "data.n_train=64", "data.n_test=20", "data.seed=1"]


def train(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train_extractor.py", *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_trained_network_is_an_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "tiny.safetensors"
    train(str(out), "--widths", "4", "8", "--epochs", "1", "--batch", "40", *SHAPES, monkeypatch=monkeypatch)
    assert small_resnet(weights=out).label == "tiny"
    with safe_open(out, "pt") as file:
        origin = json.loads(file.metadata()["origin"])
    assert origin["data"] == {"name": "shapes", "n_train": 64, "n_test": 20, "seed": 1, "max_angle": 360}
    assert 0 <= origin["test_accuracy"] <= 1


def test_the_same_seed_trains_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        train(str(tmp_path / name), "--widths", "4", "--epochs", "1", "--batch", "32", *SHAPES, monkeypatch=monkeypatch)
    assert small_resnet(weights=tmp_path / "one").sha256 == small_resnet(weights=tmp_path / "two").sha256


def test_a_folder_that_is_not_there_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="its folder does not exist"):
        train(str(tmp_path / "nowhere" / "out"), monkeypatch=monkeypatch)


def test_a_missing_option_of_the_data_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"error: .*data\.path"):
        train(str(tmp_path / "out"), "data=npz", monkeypatch=monkeypatch)
