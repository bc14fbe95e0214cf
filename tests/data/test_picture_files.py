"""Pictures below a folder, and the same ones in an archive."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sngan.data.image_folder import ImageFolder, Pictures
from sngan.data.images import ImageSpec
from sngan.data.picture_files import find_pictures, open_in
from sngan.errors import UserError


def found(path: Path, **options: object) -> ImageFolder:
    plain = {
        "path": path,
        "test_path": None,
        "resolution": 8,
        "channels": "auto",
        "fit": "crop",
        "range": None,
        "on_error": "stop",
        "cache": False,
    }
    return ImageFolder(**(plain | options))


def contents(source: ImageFolder) -> list[tuple[int, int]]:
    """Grey level and label of each image."""
    images = source.load("train")
    return [(int(image.float().mean()), label) for image, label in (images[i] for i in range(len(images)))]


def packed(folder: Path, *, labels: object = None) -> Path:
    """An archive of a folder, in the layout of StyleGAN's where there are labels."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
        if labels is not None:
            archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of the levels 0, 10, …, 40 as StyleGAN numbers them, two folders of a thousand that are not full."""
    for i in range(5):
        path = tmp_path / "faces" / f"{i // 3:05d}" / f"img{i:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * i).save(path)
    return tmp_path / "faces"


def pairs(*values: object) -> list[tuple[str, object]]:
    return [(f"{i // 3:05d}/img{i:08d}.png", value) for i, value in enumerate(values)]


def test_an_archive_is_the_folder_that_was_packed(folder: Path) -> None:
    archive = packed(folder)
    source = found(archive)
    assert (source.name, source.spec) == ("faces", ImageSpec(8, 1, 2))
    assert contents(source) == contents(found(folder)) == [(0, 0), (10, 0), (20, 0), (30, 1), (40, 1)]
    assert source.load("train").sha256() == found(folder).load("train").sha256()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("values", [(6, 3, 6, 3, 9), ("b", "a", "b", "a", "c")])
def test_labels_are_those_of_dataset_json(folder: Path, zipped: bool, values: tuple[object, ...]) -> None:
    path = packed(folder, labels=pairs(*values))
    if not zipped:
        (folder / "dataset.json").write_text(json.dumps({"labels": dict(pairs(*values))}))
        path = folder
    source = found(path)
    assert source.spec.n_classes == 3
    assert [label for _, label in contents(source)] == [1, 0, 1, 0, 2]
    assert source.unlike_earlier == "reads dataset.json"


def test_null_for_labels_leaves_the_sub_folders(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"labels": null}')
    assert found(folder).spec.n_classes == 2


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (pairs(1, 2, 3, 4), r"dataset\.json has no label of 00001/img00000004\.png"),
        (pairs(1, 2, 3, 4, [0.5, 0.5]), r"dataset\.json has labels of several kinds"),
        (pairs(1, 2, 3, 4, 0.5), r"labels of 5 images are whole numbers or text"),
        (7, r"dataset\.json cannot be read .*\{\"labels\": \[\[name, label\], …\]\}"),
    ],
)
def test_labels_that_do_not_fit_are_told(folder: Path, labels: object, said: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.path=.*faces\.zip: .*{said}|^data\.path=.*{said}"):
        found(packed(folder, labels=labels))


def test_a_damaged_member_is_named_and_an_archive_that_is_none_is_refused(folder: Path) -> None:
    path = packed(folder)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.infolist()[1].header_offset + 60
    path.write_bytes(content[:at] + b"xxxx" + content[at + 4 :])
    with pytest.raises(UserError, match=r"(?s)1 of 5 pictures in .*faces\.zip cannot be read: 00000/img00000001\.png"):
        found(path, channels=1).load("train")
    path.write_bytes(content[:-40])
    with pytest.raises(UserError, match=r"data\.path=.*faces\.zip is neither a folder nor a zip archive"):
        found(path)


def test_a_member_that_unpacks_to_more_than_a_picture_is_refused(folder: Path) -> None:
    path = folder.with_name("bomb.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", bytes(10**7))
    with pytest.raises(UserError, match=r"a\.png cannot be read: it is larger than a picture may be"):
        Pictures(path, find_pictures(path, "data.path").files, [0], found(packed(folder))._pictures["train"].form)[0]


@pytest.mark.parametrize("place", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_is_no_file_is_refused_at_once(place: Callable[[Path], None]) -> None:
    place(Path("a.png"))
    with pytest.raises(OSError, match="it is no regular file"):
        open_in(Path(), "a.png")
