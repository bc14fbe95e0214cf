"""`sngan.Run`: what a run left, from Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from typed_use import use

import sngan
from conftest import TINY, finished_run
from sngan.__main__ import main
from sngan.sampling.pictures import Pictures


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    networks = ["conditional=true", "generator=resnet", "discriminator=resnet", "discriminator.widths=[8,8,8,8]"]
    words = [word for word in TINY if not word.startswith("discriminator")]
    folder = tmp_path_factory.mktemp("conditional") / "run"
    assert main(["train", *words, *networks, "steps=1", "protocol=none", "sample_every=0", f"run_dir={folder}"]) == 0
    return folder


def test_what_the_run_says_of_itself(path: Path) -> None:
    run = sngan.Run(str(path))
    assert (run.status, run.step, run.config.steps, len(run.scalars)) == ("finished", 6, 6, 6)
    assert run.scores.keys() == {"last", "best"}
    assert run.records[-1].scores == run.scores["last"]
    assert f"{next(iter(run.scores['last']))}=" in repr(run)
    assert (run._repr_png_() or b"") == (path / "samples/step-00000006.png").read_bytes()


@pytest.mark.parametrize("of", [str, Path], ids=["text", "path"])
@pytest.mark.parametrize("place", ["run", "checkpoint"])
def test_every_door_takes_text_or_path_of_a_run_or_a_checkpoint(of: type, place: str, path: Path) -> None:
    given = of(path if place == "run" else path / "checkpoints/step-00000006")
    assert sngan.open_checkpoint(given).step == 6
    assert torch.equal(sngan.load_generator(given).sample(2), sngan.Run(given).sample(2))
    assert not sngan.load_discriminator(given).training


def test_samples_are_those_of_the_command(path: Path) -> None:
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    assert main(["sample", f"run={path}", "n=3", "seed=5", "out=samples", "device=cpu"]) == 0
    made = sngan.Run(path).sample(3, seed=5)
    for i in range(3):
        assert torch.equal(made[i], pil_to_tensor(Image.open(f"samples/0000{i}.png")))


def test_classes_take_turns_or_are_chosen(conditional: Path) -> None:
    G = sngan.Run(conditional).generator()
    turns, third = G.sample(4, seed=1), G.sample(4, seed=1, label=3)
    assert torch.equal(turns[3], third[3])
    assert not torch.equal(turns[0], third[0])
    assert torch.equal(G.sample(4, label=[0, 1, 2, 3]), G.sample(4))


def test_truncated_to_nothing_all_samples_are_one(path: Path) -> None:
    run = sngan.Run(path)
    assert torch.equal(run.sample(2, truncation=0.0)[0], run.sample(2, truncation=0.0)[1])
    assert not torch.equal(run.sample(2)[0], run.sample(2)[1])


def test_a_notebook_shows_images_and_nothing_else_as_a_picture(path: Path) -> None:
    images = sngan.Run(path).sample(2)
    assert isinstance(images, Pictures)
    assert (images._repr_png_() or b"").startswith(b"\x89PNG")
    assert (images[0]._repr_png_() or b"").startswith(b"\x89PNG")
    assert images.float()._repr_png_() is None


def test_a_checkpoint_of_a_run_is_that_one(path: Path) -> None:
    assert sngan.Run(path / "checkpoints/step-00000004").step == 4


def test_scores_are_recorded_like_the_commands(path: Path) -> None:
    run = sngan.Run(shutil.copytree(path, "run"))
    (record,) = run.evaluate(n=20)
    assert record["protocol"]["n"] == 20
    assert run.records[-1].scores == record["scores"]
    with pytest.raises(sngan.UserError, match="protocol=none takes no score"):
        run.evaluate(protocol="none")


def test_inspection_and_report(path: Path) -> None:
    run = sngan.Run(shutil.copytree(path, "run"))
    assert len(run.inspect(n=0, plot="none")["layers"]) > 1
    assert run.report(out=Path("a page.html"), neighbours=0).is_file()


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda run: run.sample(0), "n=0"),
        (lambda run: run.sample(2, label=1), "label=1: this generator is unconditional"),
        (lambda run: run.sample(2, truncation=-1.0), "truncation=-1.0"),
        (lambda run: run.evaluate(nn=3), "unknown key nn; did you mean n?"),
        (lambda run: run.inspect(n="many"), "n=many"),
        (lambda run: sngan.Run(run.path / "samples"), "holds no run"),
        (lambda run: sngan.load_generator("nowhere"), "nowhere: no checkpoint there"),
    ],
)
def test_a_mistake_is_the_users_error(ask: object, said: str, path: Path) -> None:
    with pytest.raises(sngan.UserError) as told:
        ask(sngan.Run(path))  # type: ignore[operator]
    assert said in str(told.value)


def test_a_class_that_is_not_there_is_told(conditional: Path) -> None:
    with pytest.raises(sngan.UserError, match=r"label=10: the classes are 0 to 9"):
        sngan.Run(conditional).sample(1, label=10)


def test_public_names_are_there_to_complete() -> None:
    assert {"Run", "train", "load_generator", "OwnImages", "__version__"} <= set(dir(sngan))


def test_what_is_typed_runs(path: Path) -> None:
    assert use(path).shape == (3, 3, 32, 32)
