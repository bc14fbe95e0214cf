"""Pictures that a generator made are found again; others come to its form first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import TINY, finished_run
from sngan import load_generator, train
from sngan.__main__ import main
from sngan.runs.checkpoint import find
from sngan.sampling.grids import write_png
from sngan.sampling.modes.project import picture_as, rms

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("plain"), "protocol=none", "evaluate_every=0")


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional run on grey images of 32 x 64 px."""
    folder = tmp_path_factory.mktemp("grey")
    random = np.random.default_rng(0)
    np.savez(folder / "grey.npz", images=random.integers(256, size=(40, 32, 64), dtype=np.uint8), labels=np.arange(40) % 2)
    data = ["data=npz", f"data.path={folder / 'grey.npz'}", "data.fit=pad", "conditional=true", f"run_dir={folder / 'run'}"]
    sizeless = [word for word in TINY if not word.startswith(("data.", "sample_every", "quick", "protocol"))]
    return train(*sizeless, *data, "protocol=none", "evaluate_every=0", "sample_every=0", "optimizer.lr=0.1", "ema.decay=0").path


def test_a_picture_that_the_generator_made_is_found_again(plain: Path, capsys: Capture) -> None:
    G = load_generator(plain)
    made = G.sample(1, seed=5)[0].as_subclass(torch.Tensor)
    write_png(made, Path("mine.png"))
    words = ["sample", f"run={plain}", "mode=project", "mode.image=mine.png", "mode.steps=100", "n=1", "device=cpu"]
    assert main([*words, "out=found.png"]) == 0
    said = capsys.readouterr().out.splitlines()
    z = torch.from_numpy(np.load("found.npy"))
    assert (z.dtype, z.shape) == (torch.float32, (G.z_dim,))
    found = rms((G(z[None]) + 1) * 128 - 0.5, made)
    nearest = rms(G.sample(1000, seed=0).as_subclass(torch.Tensor), made).min()
    assert found < 3 < nearest / 3
    assert said[0].startswith("found.png: an image ")
    assert f"the nearest of 1,000 samples is {nearest:.1f} from it" in said[0]
    assert said[1].startswith(f"found.npy: its latent, [{G.z_dim}], of length ")
    with Image.open("found.png") as sheet:
        assert sheet.width > 3 * 32
    first = Path("found.npy").read_bytes()
    assert main([*words, "out=again.png"]) == 0
    assert Path("again.npy").read_bytes() == first


def test_the_class_is_found_too_and_a_picture_comes_to_the_form_of_the_images(grey: Path, capsys: Capture) -> None:
    G = load_generator(grey)
    made = G.sample(1, seed=5, label=1)[0].as_subclass(torch.Tensor)  # [1, 32, 64]
    Image.fromarray(made[0].numpy()).convert("RGB").save("mine.png")
    words = ["sample", f"run={grey}", "mode=project", "mode.image=mine.png", "mode.steps=40", "n=1", "device=cpu"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("project.png: an image of class 1 ")
    assert main([*words, "label=0", "out=other.png"]) == 0
    other = capsys.readouterr().out
    assert other.startswith("other.png: an image of class 0 ")
    assert distance(said) < distance(other)


def distance(said: str) -> float:
    return float(said.partition(" grey levels")[0].rpartition(" ")[2])


def test_a_picture_of_another_size_is_fitted_as_the_data_are(plain: Path, grey: Path) -> None:
    Image.new("RGB", (40, 40), "white").save("white.png")
    checkpoint = find(grey, None)
    padded = picture_as(Path("white.png"), checkpoint.config(), checkpoint.spec)
    assert padded.shape == (1, 32, 64)
    assert not padded[:, :, :16].any(), "data.fit=pad lays it in the middle of black"
    assert (padded[:, :, 16:48] == 255).all()
    checkpoint = find(plain, None)
    assert (picture_as(Path("white.png"), checkpoint.config(), checkpoint.spec) == 255).all(), "the shapes' are cut out"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "mode.image is needed"),
        (["mode.image=gone.png"], "mode.image=gone.png: no such file"),
        (["mode.image=text.png"], "text.png cannot be read: it is no picture"),
        (["mode.image=text.png", "out=found.gif"], "out=found.gif: mode=project writes a .png"),
        (["mode.image=text.png", "mode.steps=0"], "mode.steps=0"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(words: list[str], said: str, plain: Path, capsys: Capture) -> None:
    Path("text.png").write_text("text")
    assert main(["sample", f"run={plain}", "mode=project", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) <= 2
    assert [path.name for path in Path().iterdir()] == ["text.png"]
