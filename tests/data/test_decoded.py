"""Pictures that are kept decoded are the pictures, whatever happened to the file that keeps them."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from conftest import full_disk
from sngan.data.decoded import CHECK, Decoded
from sngan.data.image_folder import ImageFolder
from sngan.data.images import Images
from sngan.data.reading import read
from sngan.errors import UserError
from sngan.processes import cache_folder

N = 40


@pytest.fixture(autouse=True)
def _pictures() -> None:
    """Forty pictures of two sizes and modes, in `pictures`."""
    Path("pictures").mkdir()
    random = np.random.default_rng(0)
    for i in range(N):
        pixels = random.integers(256, size=(20, 24 - i % 2, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        (image.convert("L") if i % 3 else image).save(f"pictures/{i:02d}.png")


def load(cache: Any = True, **options: Any) -> Images:
    plain = {
        "path": Path("pictures"),
        "test_path": None,
        "resolution": 16,
        "channels": 3,
        "fit": "crop",
        "range": None,
        "on_error": "stop",
    }
    return ImageFolder(**{**plain, **options, "cache": cache}).load("train")


def pixels(images: Images) -> Tensor:
    return torch.stack([images[i][0] for i in range(len(images))])


def kept() -> list[Path]:
    return sorted(cache_folder().glob("*")) if cache_folder().exists() else []


def test_the_kept_pictures_are_the_decoded_ones_now_and_later_and_in_workers() -> None:
    plain = load(cache=False)
    assert not kept()
    first, second = load(), load()
    assert isinstance(first, Decoded)
    assert isinstance(second, Decoded)
    (path,) = kept()
    assert path.stat().st_size == N * (3 * 16 * 16 + CHECK)
    assert torch.equal(pixels(first), pixels(plain))
    assert first.sha256() == plain.sha256()
    assert len(pickle.dumps(second)) < path.stat().st_size / 2, "a worker maps the file, and is sent none of it"
    batches = list(read(second, [[3, 1], [39, 0]], workers=1))
    assert torch.equal(batches[0][0], torch.stack([plain[3][0], plain[1][0]]))


def test_nothing_is_decoded_where_the_file_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pixels(load())
    monkeypatch.setattr("sngan.data.image_folder.decode", None)
    monkeypatch.setattr("sngan.data.image_folder.read_picture", None)
    assert torch.equal(pixels(load()), expected)


def test_few_pictures_are_not_kept_unless_that_is_asked_for() -> None:
    assert not isinstance(load(cache="auto"), Decoded)
    assert not kept()


@pytest.mark.parametrize("damage", ["a byte", "cut short", "foreign", "link", "gone", "gone later"])
def test_a_damaged_file_costs_time_alone(damage: str) -> None:
    expected = pixels(load(cache=False))
    before = load()
    (path,) = kept()
    content = bytearray(path.read_bytes())
    if damage == "gone later":
        path.unlink()
        assert torch.equal(pixels(before), expected)
        return
    if damage == "a byte":
        content[3 * 16 * 16 // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut short":
        path.write_bytes(content[:-1])
    elif damage == "foreign":
        path.write_bytes(bytes(len(content)))
    else:
        path.unlink()
        if damage == "link":
            Path("elsewhere").write_bytes(bytes(len(content)))
            path.symlink_to(Path("elsewhere").absolute())
    assert torch.equal(pixels(load()), expected)
    if damage == "link":
        assert Path("elsewhere").read_bytes() == bytes(len(content)), "nothing is written through it"


def test_a_picture_that_changes_or_is_asked_for_in_another_form_is_decoded_again() -> None:
    first = pixels(load())
    Image.new("RGB", (20, 20), "white").save("pictures/00.png")
    os.utime("pictures/00.png", ns=(1, 1))
    changed = pixels(load())
    assert (changed[0] == 255).all()
    assert torch.equal(changed[1:], first[1:])
    assert load(channels=1)[1][0].shape == (1, 16, 16)
    assert not torch.equal(pixels(load(fit="pad"))[1:], first[1:])
    assert len(kept()) == 4


@pytest.mark.parametrize("cache", [True, "auto"])
def test_a_full_disk_and_a_folder_that_cannot_be_written_keep_nothing_and_say_so(
    cache: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sngan.data.image_folder.LEAST", N)
    expected = pixels(load(cache=False))
    with caplog.at_level(logging.INFO):
        with full_disk(1000):
            assert torch.equal(pixels(load(cache)), expected)
        assert not kept()
        Path("a file").write_text("")
        monkeypatch.setenv("SNGAN_CACHE", "a file")
        assert torch.equal(pixels(load(cache)), expected)
    said = [record for record in caplog.records if "cannot be kept" in record.message]
    assert [record.levelno for record in said] == [logging.WARNING if cache is True else logging.INFO] * 2


def test_with_pictures_that_cannot_be_read_nothing_is_kept() -> None:
    Path("pictures/05.png").write_text("none")
    with pytest.raises(UserError, match=r"1 of 40 pictures .*05\.png"):
        load()
    assert len(load(on_error="skip")) == N - 1
    assert not kept()


def test_what_a_killed_process_left_is_removed_after_a_day() -> None:
    cache_folder().mkdir(exist_ok=True)
    old, new = (cache_folder() / f".partial-pictures-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"rows")
    os.utime(old, (1, 1))
    load()
    assert not old.exists()
    assert new.exists(), "another process may be writing it"


def test_an_archive_is_kept_too() -> None:
    import zipfile

    with zipfile.ZipFile("pictures.zip", "w") as archive:
        for path in sorted(Path("pictures").iterdir()):
            archive.write(path, path.name)
    assert torch.equal(pixels(load(path=Path("pictures.zip"))), pixels(load(cache=False)))
    assert len(kept()) == 1
