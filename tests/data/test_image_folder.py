import logging
import multiprocessing
import re
from pathlib import Path

import pytest
from PIL import Image

from sngan.data import image_folder
from sngan.data.image_folder import ImageFolder, picture_files
from sngan.data.images import ImageSpec
from sngan.errors import UserError


def save(path: Path, *names: str) -> None:
    """Pictures of the grey levels 0, 10, 20, …"""
    for level, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * level).save(path / name)


def folder(path: Path, **options: object) -> ImageFolder:
    return ImageFolder(**({"path": path, "test_path": None, "resolution": 8, "on_error": "stop"} | options))


def contents(source: ImageFolder, split: str = "train") -> list[tuple[int, int]]:
    """Grey level and label of each image."""
    images = source.load(split)
    return [(int(image.float().mean()), label) for image, label in (images[i] for i in range(len(images)))]


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path):
    save(tmp_path / "pets", "dog/a.png", "cat/b.png", "dog/deep/er/c.png", "bird/d.png")
    source = folder(tmp_path / "pets")
    assert (source.name, source.spec) == ("pets", ImageSpec(resolution=8, channels=3, n_classes=3))
    assert contents(source) == [(30, 0), (10, 1), (0, 2), (20, 2)]


@pytest.mark.parametrize("names", [("b.png", "a.png"), ("all/b.png", "all/a.png"), ("z.png", "a/a.png", "b/b.png")])
def test_loose_pictures_or_a_single_sub_folder_have_no_labels(tmp_path, names):
    save(tmp_path, *names)
    source = folder(tmp_path)
    assert source.spec.n_classes == 0
    assert {label for _, label in contents(source)} == {0}


def test_pictures_come_in_the_order_of_their_paths(tmp_path):
    save(tmp_path, "c.png", "a/z.png", "b.png", "a.png")
    assert [level for level, _ in contents(folder(tmp_path))] == [30, 10, 20, 0]


def test_suffixes_may_be_capital_and_other_or_hidden_files_are_passed_over(tmp_path):
    save(tmp_path, "a.PNG", ".thumbnails/b.png", ".c.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert contents(folder(tmp_path)) == [(0, 0)]


def test_linked_folders_are_followed(tmp_path):
    save(tmp_path / "elsewhere", "a.png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "elsewhere")
    assert len(contents(folder(tmp_path / "mine"))) == 1


def test_a_test_folder_gets_the_labels_of_the_training_classes(tmp_path):
    save(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png", "test/b/2.png")
    source = folder(tmp_path / "train", test_path=tmp_path / "test")
    assert contents(source, "test") == [(40, 1), (30, 2)]


def test_a_class_that_only_the_test_folder_has_is_named(tmp_path):
    save(tmp_path, "train/a/1.png", "train/b/1.png", "test/d/1.png")
    with pytest.raises(UserError, match=r"data\.test_path=.*: sub-folder d is not among the classes in data\.path="):
        folder(tmp_path / "train", test_path=tmp_path / "test")


def test_test_pictures_may_not_lie_among_the_training_pictures(tmp_path):
    save(tmp_path, "a/1.png", "test/1.png")
    with pytest.raises(UserError, match=r"data\.test_path=.* lies in data\.path=.*keep them apart"):
        folder(tmp_path, test_path=tmp_path / "test")


def test_a_missing_test_split_is_said_when_it_is_asked_for(tmp_path):
    save(tmp_path, "a.png")
    with pytest.raises(UserError, match=r"no test split.*data\.test_path=.*protocol\.reference=train"):
        folder(tmp_path).load("test")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    save(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.jpg")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"no picture")
    for name in ("c.png", "g.jpg"):
        Image.effect_noise((64, 64), sigma=50).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    return tmp_path


def test_unreadable_pictures_stop_the_run_named_and_counted(damaged):
    with pytest.raises(UserError, match=r"(?s)^4 of 7 pictures .*: a\.png, b\.png, c\.png, … .*\n.*data\.on_error=skip$"):
        folder(damaged).load("train")


def test_unreadable_pictures_are_left_out_with_a_warning_that_counts_them(damaged, caplog):
    with caplog.at_level(logging.WARNING):
        assert contents(folder(damaged, on_error="skip")) == [(30, 0), (40, 0), (50, 0)]
    assert re.search(r"4 of 7 pictures .* cannot be read: a\.png, b\.png, c\.png, …; they are left out", caplog.text)


def test_leaving_out_pictures_leaves_the_labels_of_the_others(tmp_path):
    save(tmp_path, "a/1.png", "b/1.png", "b/2.png", "c/1.png")
    (tmp_path / "b/1.png").write_bytes(b"")
    assert contents(folder(tmp_path, on_error="skip")) == [(0, 0), (20, 1), (30, 2)]


def test_nothing_left_is_an_error_even_when_skipping(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 1 pictures .* cannot be read"):
        folder(tmp_path, on_error="skip").load("train")


def test_a_folder_without_pictures_is_told_what_is_accepted(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"")
    with pytest.raises(UserError, match=r"data\.path=.*no pictures there; accepted are \.bmp.*\.webp"):
        folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.path=.*/none: no such folder"):
        folder(tmp_path / "none")


def test_the_hash_of_a_folder_changes_with_its_files_and_its_resolution_and_not_with_its_place(tmp_path: Path) -> None:
    names = ("a.png", "b/c.png")
    for place in ("here", "there", "longer", "other", "renamed"):
        save(tmp_path / place, *names)
    save(tmp_path / "longer", "z.png")
    save(tmp_path / "other", "b/c.png")  # in another grey
    (tmp_path / "renamed" / "a.png").rename(tmp_path / "renamed" / "d.png")

    def sha256(place: str, **options: object) -> str:
        return folder(tmp_path / place, **options).load("train").sha256()

    assert sha256("here") == sha256("there")
    assert len({sha256("here"), sha256("here", resolution=4), sha256("longer"), sha256("other"), sha256("renamed")}) == 5


def test_pictures_that_are_left_out_are_not_hashed(tmp_path: Path) -> None:
    save(tmp_path / "whole", "a.png", "b.png")
    save(tmp_path / "damaged", "a.png", "b.png", "c.png")
    (tmp_path / "damaged" / "c.png").write_bytes(b"no picture")
    damaged = folder(tmp_path / "damaged", on_error="skip").load("train")
    assert damaged.sha256() == folder(tmp_path / "whole").load("train").sha256()


@pytest.mark.parametrize("many", [100, 1], ids=["threads", "processes"])
def test_the_check_leaves_out_what_reading_refuses_and_nothing_else(damaged, monkeypatch, many) -> None:
    monkeypatch.setattr(image_folder, "MANY", many)
    Image.new("I", (8, 8)).save(damaged / "integers.tif")
    Image.new("F", (8, 8)).save(damaged / "floats.tif")
    Image.new("I;16", (8, 8)).save(damaged / "deep.png")
    Image.new("P", (1, 9)).save(damaged / "narrow.gif")
    files = image_folder.picture_files(damaged, "data.path")

    def is_read(index: int) -> bool:
        try:
            return bool(image_folder.Pictures(damaged, files, [0] * len(files), 8)[index])
        except UserError:
            return False

    kept = folder(damaged, on_error="skip").load("train").files
    assert kept == [file for i, file in enumerate(files) if is_read(i)]
    assert {"deep.png", "narrow.gif"} < set(kept) < set(files) - {"floats.tif", "integers.tif"}
    assert not multiprocessing.active_children()


def test_linked_folders_are_followed_and_none_counts_twice() -> None:
    Path("top/real/deep").mkdir(parents=True)
    Path("elsewhere").mkdir()
    for path in ("top/real/deep/1.png", "elsewhere/2.png"):
        Image.new("RGB", (8, 8)).save(path)
    for name in ("a", "b"):
        Path("top/real", name).symlink_to(Path("top").absolute())  # two circles: paths without end
        Path("top", name).symlink_to(Path("elsewhere").absolute())
    assert picture_files(Path("top"), "data.path") == ["a/2.png", "real/deep/1.png"]


def test_links_to_links_are_no_more_folders_than_there_are() -> None:
    Path("0").mkdir()
    Image.new("RGB", (8, 8)).save("0/1.png")
    for i in range(1, 40):
        Path(str(i)).mkdir()
        for name in ("a", "b"):
            Path(str(i), name).symlink_to(Path(str(i - 1)).absolute())
    assert len(picture_files(Path("39"), "data.path")) == 1
