"""`sngan inspect` as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, finished_run
from sngan.__main__ import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run."""
    return finished_run(tmp_path_factory.mktemp("trained"), "evaluate_every=0", "protocol=none", "generator.normalization=spectral")


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_the_table_has_a_line_for_each_layer_and_says_where_the_plot_is(trained: Path, capsys: Capture) -> None:
    shutil.copytree(trained, "run")
    before = files(Path("run"))
    assert main(["inspect", "run=run", "n=8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run/checkpoints/step-00000006, step 6"
    words = [line.split() for line in lines if line]
    assert ["layer", "weight", "sigma", "exact", "ratio", "used", "as", "map", "rank"] in words
    layers = [line[:2] for line in words]
    assert layers.count(["convs.0", "8x3x3x3"]) == 1
    assert layers.count(["deconvs.0", "16x8x4x4"]) == 1, "G is normalised too"
    assert max(map(len, lines)) <= 110
    assert lines[-1] == "singular values: run/singular_values-step-00000006.png"
    assert files(Path("run")) - before == {Path("run/singular_values-step-00000006.png")}


def test_numbers_of_a_layer_stand_under_their_titles(trained: Path, capsys: Capture) -> None:
    assert main(["inspect", f"run={trained}", "n=0", "plot=none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["layer"])
    block = lines[start : lines.index("", start)]
    assert len({len(line) for line in block}) == 1


def test_json_is_alone_on_standard_output(trained: Path, capsys: Capture) -> None:
    assert main(["inspect", f"run={trained}", "n=8", "plot=none", "format=json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["step"], record["normalization"], record["regularizer"], record["plot"]) == (6, "spectral", "none", None)
    assert [len(layer["singular_values"]) for layer in record["layers"]] == [8, 8, 8, 1]
    assert 0 < record["lipschitz_found"] <= record["lipschitz_bound"]
    assert record["generator"]["weights"] == "ema"


def test_the_plot_goes_where_it_is_asked_for(trained: Path, capsys: Capture) -> None:
    assert main(["inspect", f"run={trained}", "n=0", "plot=mine.png"]) == 0
    assert capsys.readouterr().out.endswith("singular values: mine.png\n")
    assert [path.name for path in Path().iterdir()] == ["mine.png"]
    assert Path("mine.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_with_gaps_has_the_reason(capsys: Capture) -> None:
    words = ["discriminator.normalization=batch", "protocol=none", "evaluate_every=0", "steps=1", "run_dir=run"]
    assert main(["train", *TINY, *words]) == 0
    capsys.readouterr()
    assert main(["inspect", "run=run", "plot=none"]) == 0
    out = capsys.readouterr().out
    assert "  at most   -   BatchNorm2d divides activations" in out
    assert "  at least  -   with batch normalisation D is not a function of one image" in out


def test_real_images_can_be_others(trained: Path, capsys: Capture) -> None:
    np.savez("mine.npz", images=np.random.default_rng(0).integers(256, size=(8, 32, 32, 3), dtype=np.uint8))
    words = ["inspect", f"run={trained}", "n=8", "plot=none"]
    assert main([*words, "data=npz", "data.path=mine.npz"]) == 0
    assert "8 train images of mine" in capsys.readouterr().out
    np.savez("small.npz", images=np.zeros((8, 16, 16, 3), np.uint8))
    assert main([*words, "data=npz", "data.path=small.npz"]) == 2
    assert "data=npz has images of 3 x 16 px, the checkpoint makes 3 x 32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of run=DIR (its latest checkpoint) and checkpoint=DIR"),
        (["run=nowhere"], "run=nowhere: no such folder"),
        (["checkpoint=nowhere"], "checkpoint=nowhere: no checkpoint there"),
        (["run=RUN", "n=-1"], "n=-1: input should be greater than or equal to 0"),
        (["run=RUN", "n=20000"], "n=20000: input should be less than or equal to 10000"),
        (["run=RUN", "n=65"], "n=65: shapes has 64 training images; use n=64, or n=0"),
        (["run=RUN", "format=yaml"], "format=yaml: input should be 'table' or 'json'"),
        (["run=RUN", "weights=both"], "weights=both: input should be 'ema' or 'raw'"),
        (["run=RUN", "plott=none"], "unknown key plott; did you mean plot?"),
        (["run=RUN", "plot=3"], "plot=3"),
        (["run=RUN", "plot=mine.pdf"], "plot=mine.pdf: a PNG file is written"),
        (["run=RUN", "plot=nowhere/mine.png"], "plot=nowhere/mine.png cannot be written (No such file or directory)"),
        (["run=RUN", "plot=/dev/null/mine.png"], "plot=/dev/null/mine.png cannot be written (Not a directory)"),
        (["run=RUN", "data=npz", "data.path=nowhere.npz"], "data.path=nowhere.npz: no such file"),
        (["run=RUN", "data=cifar10"], "n=0 inspects the weights alone"),
        (["run=RUN", "data.root=x"], "choose one with data=… first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_answered_in_two_lines_and_leaves_nothing(words: list[str], said: str, trained: Path, capsys: Capture) -> None:
    before = files(trained)
    assert main(["inspect", *(word.replace("RUN", str(trained)) for word in words)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) <= 2
    assert not any(Path().iterdir())
    assert files(trained) == before


def test_a_folder_in_the_plots_place_is_not_replaced(trained: Path, capsys: Capture) -> None:
    Path("folder.png").mkdir()
    assert main(["inspect", f"run={trained}", "plot=folder.png"]) == 2
    assert "plot=folder.png cannot be written (it is a folder)" in capsys.readouterr().err


def test_a_checkpoint_of_another_kind(capsys: Capture) -> None:
    Path("other").mkdir()
    Path("other/checkpoint.json").write_text('{"format": "another-program", "step": 3}')
    assert main(["inspect", "checkpoint=other"]) == 2
    assert "has format another-program" in capsys.readouterr().err


def test_json_stays_alone_in_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    """What the sweep says of its jobs goes to standard error."""
    assert main(["train", *TINY, "protocol=none", "run_dir=run", "steps=2"]) == 0
    capsys.readouterr()
    assert main(["inspect", "run=run", "n=0", "plot=none", "format=json", "seed=0,1", "-m"]) == 0
    assert [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()] == [2, 2]
