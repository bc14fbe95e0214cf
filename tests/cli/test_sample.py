"""`sngan sample` as a user meets it: films, seed ranges, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import alone, finished_run, little_memory
from sngan.__main__ import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of seed 3."""
    return finished_run(tmp_path_factory.mktemp("plain"), "protocol=none", "seed=3")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with the ten classes of the shapes."""
    networks = ["generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet", "discriminator.widths=[8,8,8,8]"]
    return finished_run(tmp_path_factory.mktemp("conditional"), "protocol=none", "conditional=true", *networks)


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (["mode=interpolate", "n=2", "mode.seconds=0.1"], 4),
        (["mode=training", "n=4", "mode.seconds=0.1"], 3),  # those that stay the same are one
        (["mode=truncation", "out=truncation.gif", "n=2", "mode.seconds=0.1"], 4),
        (["mode=classes", "out=classes.gif", "n=2", "mode.seconds=0.1"], 4),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_each_mode_writes_a_gif_and_nothing_else(words: list[str], frames: int, conditional: Path, capsys: Capture) -> None:
    assert main(["sample", f"run={conditional}", *words]) == 0
    name = f"{words[0].removeprefix('mode=')}.gif"
    assert files() == [name]
    with Image.open(name) as film:
        assert film.n_frames == frames
    assert capsys.readouterr().out.startswith(f"{name}: ")


def test_a_film_in_mp4(plain: Path) -> None:
    av = pytest.importorskip("av")
    assert main(["sample", f"run={plain}", "mode=interpolate", "n=2", "mode.seconds=0.1", "out=films/walk.mp4"]) == 0
    with av.open("films/walk.mp4") as film:
        assert film.streams.video[0].frames == 4


@pytest.mark.parametrize("mode", ["truncation", "classes"])
def test_tables_are_pictures_by_default(mode: str, conditional: Path) -> None:
    assert main(["sample", f"run={conditional}", f"mode={mode}", "n=2"]) == 0
    assert files() == [f"{mode}.png"]


def test_a_range_of_seeds_is_an_image_of_each(plain: Path, capsys: Capture) -> None:
    assert main(["sample", f"run={plain}", "seed=2-4"]) == 0
    assert files() == ["samples/grid.png", *(f"samples/seed{seed}-00000.png" for seed in (2, 3, 4))]
    assert main(["sample", f"run={plain}", "seed=4", "n=2", "out=alone"]) == 0
    assert abs(pixels("samples/seed4-00000.png") - pixels("alone/00000.png")).max() <= 1
    assert "3 images in samples" in capsys.readouterr().out


def test_seeds_can_be_listed_and_have_several_images_each(plain: Path) -> None:
    assert main(["sample", f"run={plain}", "seed=[0,5-6]", "n=2"]) == 0
    assert [name for name in files() if "seed" in name] == [f"samples/seed{seed}-0000{i}.png" for seed in (0, 5, 6) for i in (0, 1)]


def test_the_seed_is_0_but_the_film_of_a_run_is_of_its_own(plain: Path) -> None:
    for out, words in (("unsaid", []), ("zero", ["seed=0"])):
        assert main(["sample", f"run={plain}", "n=1", f"out={out}", *words]) == 0
    assert (pixels("unsaid/00000.png") == pixels("zero/00000.png")).all()
    for out, words in (("unsaid.gif", []), ("three.gif", ["seed=3"])):
        assert main(["sample", f"run={plain}", "mode=training", f"out={out}", *words]) == 0
    assert Path("unsaid.gif").read_bytes() == Path("three.gif").read_bytes()


def test_several_labels_take_turns(conditional: Path) -> None:
    assert main(["sample", f"run={conditional}", "n=4", "label=[2,7]", "out=both"]) == 0
    for label in (2, 7):
        assert main(["sample", f"run={conditional}", "n=4", f"label={label}", f"out=only{label}"]) == 0
    for i, label in enumerate((2, 7, 2, 7)):
        assert (pixels(f"both/{i:05d}.png") == pixels(f"only{label}/{i:05d}.png")).all()


def test_a_film_is_a_function_of_seed_and_checkpoint(plain: Path) -> None:
    for out in ("one.gif", "two.gif"):
        assert main(["sample", f"run={plain}", "mode=interpolate", "n=2", "mode.seconds=0.2", f"out={out}"]) == 0
    assert Path("one.gif").read_bytes() == Path("two.gif").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mode=interpolat"], "mode=interpolat: no such choice; did you mean interpolate?"),
        (["mode=interpolate", "n=1"], "n=1: mode=interpolate goes from one latent of a seed to the next; give n=2 or more"),
        (["mode=interpolate", "out=walk.png"], "out=walk.png: mode=interpolate writes .gif or .mp4"),
        (
            ["mode=interpolate", "mode.psi=[1]"],
            "allowed: mode.name, mode.seconds; another mode=… has other keys",
        ),
        (["mode=interpolate", "label=2"], "label=2: this run is unconditional; leave label out"),
        (["mode=classes"], "this run is unconditional and has no classes"),
        (["mode=classes", "mode.seconds=1"], "mode.seconds=1 with out=classes.png: a picture does not move; give out=classes.gif"),
        (["mode=training", "seed=1"], "seed with mode.source=samples: the run's grids are of seed=3"),
        (["mode=training", "weights=raw"], "weights with mode.source=samples"),
        (["mode=training", "n=101"], "n=101: the run's grids hold 100 images; give a smaller n, or use mode.source=checkpoints"),
        (["mode=truncation", "out=film.gif", "n=1"], "goes from one latent to the next, and there is only one; give n=2 or more"),
        (["mode=truncation", "n=200"], "would show 1200 images side by side, and at most 1000 fit"),
        (["mode=truncation", "n=100", "out=film.gif", "mode.seconds=100"], "is more than 1000000"),
        (["mode=truncation", "mode.psi=[]"], "mode.psi=[]"),
        (["out=film.gif"], "out=film.gif: mode=images writes a folder of PNG files"),
        (["seed=4-2"], "seed=4-2: input should be a number, a range such as 0-31, or a list of these such as [0,4-7]"),
        (["seed=-1"], "seed=-1: input should be a number"),
        (["seed=[1,0-3]"], "input should name each number once"),
        (["seed=0-10000000"], "seed=0-10000000: input should name 1 to 1000000 numbers"),
        (["seed=[]"], "seed=[]: input should name 1 to 1000000 numbers"),
        (["seed=0-999", "n=2000"], "1000 seeds of n=2000 are more than 1000000 latents"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_together_is_refused_and_leaves_nothing(
    words: list[str], said: str, plain: Path, capsys: Capture
) -> None:
    assert main(["sample", f"run={plain}", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) <= 2
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["label=10"], "label=10: the classes are 0 to 9"),
        (["label=0-3", "n=2"], "label=[0,1,2,…] names 4 classes, and mode=images would show 2 of them"),
        (["mode=interpolate", "label=[0,1]"], "label=[0,1] names 2 classes, and mode=interpolate would show 1 of them"),
        (["mode=training", "label=3"], "label with mode.source=samples"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_labels_that_would_not_be_shown_are_refused(words: list[str], said: str, conditional: Path, capsys: Capture) -> None:
    assert main(["sample", f"run={conditional}", *words]) == 2
    assert said in capsys.readouterr().err
    assert not any(Path().iterdir())


def test_the_film_of_a_run_needs_the_run(plain: Path, capsys: Capture) -> None:
    checkpoint = plain / "checkpoints" / "step-00000006"
    assert main(["sample", f"checkpoint={checkpoint}", "mode=training"]) == 2
    assert "mode=training shows a whole run; give run=DIR instead of checkpoint=DIR" in capsys.readouterr().err


def test_a_run_that_drew_nothing_has_its_checkpoints(tmp_path_factory: pytest.TempPathFactory, capsys: Capture) -> None:
    run = finished_run(tmp_path_factory.mktemp("silent"), "protocol=none", "sample_every=0")
    assert main(["sample", f"run={run}", "mode=training"]) == 2
    assert "has no grids of samples (sample_every=0); use mode.source=checkpoints" in capsys.readouterr().err
    assert main(["sample", f"run={run}", "mode=training", "mode.source=checkpoints", "n=4"]) == 0


@alone
def test_running_out_of_memory_is_told_in_a_line(plain: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["sample", f"run={plain}", "n=4"]) == 0  # imports what it needs
    capsys.readouterr()
    with little_memory(20_000_000):
        assert main(["sample", f"run={plain}", "n=1000000"]) == 2
    assert capsys.readouterr().err == "sngan: sample runs out of memory; lower n, or name fewer seeds\n"
