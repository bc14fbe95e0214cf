"""What a run's folder is called."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sngan import compose
from sngan.__main__ import main
from sngan.cli.run_names import earlier_variant, variant
from sngan.files import read_json, write_json

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["seed=3", "device=cpu", "experiment=shapes"], "default"),
        (["optimizer.lr=1e-4", "loss=bce"], "loss-bce+optimizer.lr-1e-4"),
        (["optimizer.betas=[0.5,0.999]"], "optimizer.betas-0.5-0.999"),
        (["data.path=/tmp/pictures", "data=image_folder", "batch=8"], "batch-8+data-image_folder+data.path-pictures"),
        (["data=npz", "data.path='~/my images/cats.npz'"], "data-npz+data.path-cats.npz"),
        (["data=image_folder", "data.path=../cats/"], "data-image_folder+data.path-cats"),
        (["data=cifar10", "data.root=/datasets", "data.download=true"], "data-cifar10"),
        (["batch=8", "batch=16"], "batch-16"),
        (["~experiment", "+loss.extra=1"], "loss.extra-1"),
    ],
)
def test_the_name_says_what_differs_and_nothing_else(overrides: list[str], name: str) -> None:
    assert variant(overrides) == name


def test_a_name_that_is_cut_ends_in_a_hash_of_the_whole() -> None:
    long = [f"discriminator.exclude=[{','.join(f'convs.{i}' for i in range(20))}]"]
    other = [f"discriminator.exclude=[{','.join(f'convs.{i}' for i in range(21))}]"]
    assert len(variant(long)) <= 100
    assert re.search(r"-[0-9a-f]{8}$", variant(long))
    assert variant(long) != variant(other)


def test_the_name_needs_no_quotes_on_the_command_line() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.+-]+", variant(["data.path='a b/c, d=e'", "discriminator.exclude=[convs.*]"]))


def archive(folder: str) -> str:
    Path(folder).mkdir()
    np.savez(f"{folder}/pictures.npz", images=np.zeros((16, 32, 32, 3), np.uint8))
    return f"data.path={folder}/pictures.npz"


WORDS = [
    "data=npz",
    "name=mine",
    "protocol=none",
    "device=cpu",
    "steps=1",
    "batch=4",
    "g_batch=4",
    "ema.recalibrate=1",
    "sample_every=0",
]


def test_another_path_of_the_same_last_part_gets_a_folder_of_its_own() -> None:
    first, second = archive("a"), archive("b")
    assert main(["train", *WORDS, first]) == main(["train", *WORDS, second]) == 0
    short, hashed = sorted(Path("runs/mine").iterdir(), key=lambda path: len(path.name))
    assert re.fullmatch(r".*-[0-9a-f]{8}", hashed.name)
    assert read_json(short / "seed0/config.json")["data"]["path"] == "a/pictures.npz"
    assert read_json(hashed / "seed0/config.json")["data"]["path"] == "b/pictures.npz"
    assert compose([*WORDS, first]).run_dir.parent == short
    assert compose([*WORDS, second, "seed=1"]).run_dir.parent == hashed, "another seed lies beside the first"


def test_a_run_goes_on_where_an_earlier_version_began_it(capsys: Capture) -> None:
    words = [*WORDS, archive("a")]
    old = Path("runs/mine", earlier_variant(words), "seed0")
    old.parent.mkdir(parents=True)
    assert main(["train", *words]) == 0
    out = capsys.readouterr().out
    assert f"{old} was named by an earlier version of sngan and keeps its name; a new run would be named {variant(words)}" in out
    assert [path.parent for path in Path("runs/mine").glob("*/*/config.json")] == [old]


def test_a_run_that_needs_no_hash_has_the_name_that_it_always_had() -> None:
    words = ["loss=bce", "optimizer.lr=1e-4", "data.n_train=500", "constraint=wgan_gp"]
    assert variant(words) == earlier_variant(words)


def test_where_a_data_set_lies_is_no_part_of_a_run(capsys: Capture) -> None:
    config = compose(["data=cifar10", "run_dir=run"]).model_dump(mode="json")
    Path("run").mkdir()
    write_json(Path("run/config.json"), config)
    assert main(["train", "data=cifar10", "data.root=/nowhere", "run_dir=run"]) == 2
    assert "another config" not in capsys.readouterr().err
