import logging
import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sngan.data import image_folder
from sngan.data.decoding import Form
from sngan.data.image_folder import ImageFolder
from sngan.data.images import ImageSpec
from sngan.data.picture_files import find_pictures
from sngan.errors import UserError


def save(path: Path, *names: str) -> None:
    """Pictures of the grey levels 0, 10, 20, …"""
    for level, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * level).save(path / name)


def folder(path: Path, **options: object) -> ImageFolder:
    plain = {
        "path": path,
        "test_path": None,
        "resolution": 8,
        "channels": 3,
        "fit": "crop",
        "range": None,
        "on_error": "stop",
        "cache": False,
    }
    return ImageFolder(**(plain | options))


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
    with pytest.raises(
        UserError, match=r"data\.test_path=.*: sub-folder d is no class of the training images, whose labels are a…b"
    ):
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
    with pytest.raises(UserError, match=r"data\.path=.*no pictures there but 1 \.pdf; accepted are .*\.bmp.*\.webp"):
        folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.path=.*/none: no such folder or zip archive"):
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
    files = find_pictures(damaged, "data.path").files

    def is_read(index: int) -> bool:
        try:
            return bool(image_folder.Pictures(damaged, files, [0] * len(files), Form(8))[index])
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
    assert find_pictures(Path("top"), "data.path").files == ["a/2.png", "real/deep/1.png"]


def test_links_to_links_are_no_more_folders_than_there_are() -> None:
    Path("0").mkdir()
    Image.new("RGB", (8, 8)).save("0/1.png")
    for i in range(1, 40):
        Path(str(i)).mkdir()
        for name in ("a", "b"):
            Path(str(i), name).symlink_to(Path(str(i - 1)).absolute())
    assert len(find_pictures(Path("39"), "data.path").files) == 1


def test_pictures_are_grey_only_if_all_are(tmp_path: Path) -> None:
    for name, mode in (("a.png", "1"), ("b.jpg", "L"), ("c.png", "LA"), ("d.png", "I;16")):
        Image.new(mode, (8, 8)).save(tmp_path / name)
    (tmp_path / "e.png").write_bytes(b"no picture")
    source = folder(tmp_path, channels="auto", on_error="skip")
    assert source.spec == ImageSpec(8, 1, 0)
    assert source.load("train")[0][0].shape == (1, 8, 8)
    Image.new("P", (8, 8)).save(tmp_path / "f.gif")
    assert folder(tmp_path, channels="auto").spec.channels == 3


def test_numbered_sub_folders_are_classes_in_the_order_of_the_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(tmp_path / "digits", *(f"{number}/a.png" for number in range(1, 13)))
    source = folder(tmp_path / "digits")
    assert sorted(contents(source)) == [(10 * label, label) for label in range(12)]
    assert caplog.messages == [f"{tmp_path / 'digits'}: 12 train pictures as 3 x 8 px; labels 1…12 numbered 0…11"]


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "Test"), ("train", "valid", "test")])
def test_splits_are_not_taken_for_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    save(tmp_path, *(f"{name}/cat/1.png" for name in names))
    with pytest.raises(UserError, match=rf"are splits, not classes; give one of them, as data\.path=.*{names[0]}|{names[-1]}"):
        folder(tmp_path)


def test_what_is_left_out_is_said_by_kind_and_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(tmp_path, "a.png", "b.jpeg")
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png", "JPEG")
    for name in ("c.HEIC", "d.heic", "e.tar.gz", "README", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    folder(tmp_path).load("train")
    assert caplog.messages == [f"{tmp_path}: 3 train pictures as 3 x 8 px; left out: 1 .gz, 2 .heic, 1 without a suffix"]


def test_a_folder_of_other_kinds_alone_is_refused_with_their_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"no pictures there but 1 \.heic; accepted are"):
        folder(tmp_path)


def test_loose_pictures_beside_sub_folders_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(tmp_path, "a/1.png", "b/1.png", "overview.png")
    folder(tmp_path).load("train")
    assert caplog.messages[0].endswith("; no classes, because pictures lie beside the sub-folders: 1, as overview.png")


def test_what_systems_leave_in_folders_is_no_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(
        tmp_path,
        "a/1.png",
        "b/2.png",
        "@eaDir/1.png/SYNOPHOTO.jpg",
        "__MACOSX/a/1.png",
        "$RECYCLE.BIN/1.png",
        ".ipynb_checkpoints/1.png",
    )
    for name in (".DS_Store", "a/Thumbs.db", "b/desktop.ini", "a/._1.png"):
        (tmp_path / name).write_bytes(b"")
    source = folder(tmp_path)
    assert contents(source) == [(0, 0), (10, 1)]
    assert "left out" not in caplog.text


def test_a_link_to_the_folder_itself_adds_no_picture(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    for name in ("again", "and_again"):
        (tmp_path / name).symlink_to(tmp_path)
    assert find_pictures(tmp_path, "data.path").files == ["a.png"]


@pytest.mark.parametrize("white", [1023, 4095])
def test_pictures_that_use_few_of_16_bits_are_asked_for_their_range(tmp_path: Path, white: int) -> None:
    pixels = (np.arange(64, dtype=np.float64).reshape(8, 8) / 63 * white).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    with pytest.raises(UserError, match=rf"(?s)no value above {white}, .*data\.range=\[0,{white}\], or data\.range=\[0,65535\]"):
        folder(tmp_path).load("train")
    seen = folder(tmp_path, channels=1, range=(0.0, float(white))).load("train")[0][0][0]
    assert torch.equal(seen, torch.from_numpy(np.rint(pixels * (255 / white)).astype(np.uint8)))
    with pytest.raises(UserError, match=r"scan\.png cannot be read: it has values from 0 to .*, beyond data\.range=\[0,100\]"):
        folder(tmp_path, range=(0.0, 100.0)).load("train")


def test_pictures_need_not_become_squares(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    source = folder(tmp_path, resolution=(16, 24))
    assert source.spec.shape == source.load("train")[0][0].shape == (3, 16, 24)


def test_the_listing_changes_with_files_and_classes_alone(tmp_path: Path) -> None:
    save(tmp_path / "one", "a/1.png", "b/1.png")
    save(tmp_path / "same", "a/1.png", "b/1.png")
    save(tmp_path / "more", "a/1.png", "b/1.png", "b/2.png")
    save(tmp_path / "renamed", "a/1.png", "c/1.png")
    listings = {name: folder(tmp_path / name, resolution=16).listing for name in ("one", "same", "more", "renamed")}
    assert listings["one"] == listings["same"]
    assert len(set(listings.values())) == 3


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a/1.png", "b/1.png"), None),
        (("a/1.png", "b/1.jfif"), "takes other files: 2 pictures, and 1 then"),
        (("a/1.png", "b/1.png", "@eaDir/1.png"), "takes other files: 2 pictures, and 3 then"),
        (("2/1.png", "10/1.png"), "numbers the classes 2, 10, …, and then 10, 2, …"),
    ],
)
def test_a_folder_knows_what_earlier_versions_took_of_it(tmp_path: Path, names: tuple[str, ...], said: str | None) -> None:
    save(tmp_path, *names)
    assert folder(tmp_path).unlike_earlier == said
