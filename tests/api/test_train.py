"""`sngan.train` with keys and with images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sngan
from conftest import TINY, composed
from sngan.api.words import words_of

WORDS = [word for word in TINY if not word.startswith(("data.", "steps=", "optimizer.decay"))]
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)


def test_keys_are_words_of_the_command_line() -> None:
    keys = {
        "loss": "bce",
        "optimizer": {"lr": 1e-4, "betas": (0.5, 0.9)},
        "run_dir": Path("a b"),
        "weight_clip": None,
        "flag": True,
    }
    assert words_of(keys) == [
        "loss=bce", "optimizer.lr=0.0001", "optimizer.betas=[0.5,0.9]", 'run_dir="a b"', "weight_clip=null", "flag=true"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [object(), {1, 2}, "two\nlines", "${oc.env:HOME}"])
def test_a_key_that_is_no_plain_value_is_named(value: object) -> None:
    with pytest.raises(sngan.UserError, match="seed="):
        words_of({"seed": value})


def test_a_run_with_images_of_ones_own_says_so_and_goes_on_with_the_same_alone() -> None:
    keys = {"seed": 1, "run_dir": "run", "protocol": "none", "optimizer": {"decay": "none"}}
    run = sngan.train(*WORDS, "loss=bce", data=IMAGES, steps=1, **keys)
    assert isinstance(run, sngan.Run)
    assert (run.path, run.status, run.step) == (Path("run"), "finished", 1)
    config = json.loads(Path("run/config.json").read_text())
    assert (config["data"]["name"], config["data"]["sha256"]) == ("own", sngan.OwnImages(IMAGES).sha256)
    assert (config["loss"]["name"], config["seed"]) == ("bce", 1)
    with pytest.raises(sngan.UserError, match=r"another config: data\.sha256"):
        sngan.train(*WORDS, "loss=bce", data=IMAGES[::-1], steps=2, **keys)
    assert sngan.train(*WORDS, "loss=bce", data=list(IMAGES), steps=2, **keys).step == 2


def test_a_config_is_trained_as_it_is_and_edited_by_model_copy() -> None:
    config = composed(*TINY, "run_dir=run", "protocol=none").model_copy(update={"steps": 1})
    assert sngan.train(config).config == config
    with pytest.raises(sngan.UserError, match="model_copy"):
        sngan.train(config, steps=2)


def test_a_data_set_is_chosen_by_name() -> None:
    with pytest.raises(sngan.UserError, match=r"data=shaps: no such choice; did you mean shapes\?"):
        sngan.train(data="shaps")
