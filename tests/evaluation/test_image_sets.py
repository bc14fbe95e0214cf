"""Images that a path names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sngan.data.images import Images, ImageSpec
from sngan.errors import UserError
from sngan.evaluation.image_sets import reference_at, samples_of


def save(path: Path, *names: str, size: tuple[int, int] = (8, 8)) -> None:
    """Pictures of the grey levels 0, 10, 20, …"""
    for level, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, 10 * level).save(path / name)


def levels(images: Images) -> list[int]:
    return [int(images[i][0].float().mean()) for i in range(len(images))]


def test_samples_of_a_folder_come_in_the_order_of_their_names_without_the_grid(tmp_path: Path) -> None:
    save(tmp_path, "00001.png", "00000.png", "grid.png", "more/00002.png", "more/grid.png")
    images, spec = samples_of(tmp_path)
    assert levels(images) == [10, 0, 30]
    assert spec == ImageSpec(8, 3, 0)


def test_samples_of_an_archive_are_its_images_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 1), np.uint8)
    np.savez(tmp_path / "s.npz", images=pixels)
    images, spec = samples_of(tmp_path / "s.npz")
    assert spec == ImageSpec(6, 1, 0)
    assert np.array_equal(np.stack([images[i][0].permute(1, 2, 0).numpy() for i in range(5)]), pixels)


def test_a_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "mine", "a.png", "b.png")
    assert levels(samples_of(Path("~/mine"))[0]) == [0, 10]
    assert levels(reference_at(Path("~/mine"), 4)[0].load("train")) == [0, 10]


def test_samples_of_several_sizes_are_refused_and_the_odd_one_is_named(tmp_path: Path) -> None:
    save(tmp_path, "a.png", "b.png")
    save(tmp_path, "c.png", size=(9, 9))
    with pytest.raises(UserError, match=r"samples=.*: c\.png is 9 x 9 px, a\.png is 8 x 8"):
        samples_of(tmp_path)


def test_samples_that_are_no_squares_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.png", "b.png", size=(8, 6))
    with pytest.raises(UserError, match=r"samples=.*: a\.png is 8 x 6 px"):
        samples_of(tmp_path)


@pytest.mark.parametrize("use", [samples_of, lambda path: reference_at(path, 8)[0].load("train")])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, use) -> None:
    save(tmp_path, "a.png", "b.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"b\.png") as error:
        use(tmp_path)
    assert "data." not in str(error.value), "no such key was given"


@pytest.mark.parametrize(("key", "use"), [("samples", samples_of), ("against", lambda path: reference_at(path, 8))])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "no such folder"),
        ("nowhere.npz", "no such file"),
        ("empty", "no pictures there"),
        ("grids", r"no pictures there but grid\.png"),
        ("broken.npz", "cannot be read as an .npz file"),
        ("other.npz", r"has no array train_images, images, x_train, …; give one of them that name; allowed: a, b"),
    ],
)
def test_what_is_not_there_is_told_under_the_key_that_was_given(key: str, use, name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save(tmp_path / "grids", "grid.png")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    np.savez(tmp_path / "other.npz", a=np.zeros((2, 4, 4, 3), np.uint8), b=np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=rf"^{key}=.*{said}"):
        use(tmp_path / name)


def test_a_folder_to_compare_with_is_brought_to_the_size_of_the_samples_without_its_grids(tmp_path: Path) -> None:
    save(tmp_path / "mine", "b.png", "a.png", "grid.png", "z/grid.png", "z/c.png", size=(12, 10))
    source, options = reference_at(tmp_path / "mine", 6)
    images = source.load("train")
    assert levels(images) == [10, 0, 40]
    assert images[0][0].shape == (3, 6, 6)
    assert source.count("train") == 3
    assert (source.name, source.spec) == ("mine", ImageSpec(6, 3, 0))
    assert options == {"name": "image_folder", "path": str(tmp_path / "mine"), "resolution": 6}


def test_a_folder_has_no_test_split(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    source, _ = reference_at(tmp_path, 8)
    for ask in (source.count, source.load):
        with pytest.raises(UserError, match=r"no test split; take protocol\.reference=train"):
            ask("test")


def test_an_archive_to_compare_with_has_its_own_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", train_images=np.zeros((3, 4, 4, 3), np.uint8), test_images=np.ones((2, 4, 4, 3), np.uint8))
    source, options = reference_at(tmp_path / "r.npz", 4)
    assert (source.count("train"), source.count("test"), source.name) == (3, 2, "r")
    assert options == {"name": "npz", "path": str(tmp_path / "r.npz")}
