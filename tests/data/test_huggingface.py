"""Data sets that Hugging Face's library has written to disk, or downloads from a Hub, which is here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_hub import SHA, Handler, serving
from PIL import Image

from sngan import UserError
from sngan.data.huggingface import HuggingFace
from sngan.data.images import ImageSpec
from sngan.data.reading import read_all

datasets = pytest.importorskip("datasets", reason="needs the extra huggingface")


class Hub(Handler):
    """The data set me/pictures: files in a folder."""

    folder: Path

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        files = [file for file in self.folder.iterdir() if file.is_file()]
        entries = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag(file)} for file in files]
        if match := re.fullmatch(r"/datasets/me/pictures/resolve/\w+/(.+)", path):
            file = self.folder / match[1]
            if file in files:
                self.send_file(file.read_bytes(), etag(file))
            else:
                self.answer({}, 404, "EntryNotFound")
        elif path == f"/api/datasets/me/pictures/tree/{SHA}":
            self.answer(entries)
        elif path.startswith("/api/datasets/me/pictures/tree/"):
            self.answer({}, 404, "EntryNotFound")
        elif path in ("/api/datasets/me/pictures", f"/api/datasets/me/pictures/revision/{SHA}"):
            self.answer({"id": "me/pictures", "sha": SHA, "siblings": [{"rfilename": file.name} for file in files]})
        else:
            self.answer({}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
        files = [self.folder / name for name in wanted if (self.folder / name).is_file()]
        self.answer([{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag(file)} for file in files])


def etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a Hub, to which `datasets` goes."""
    Hub.folder = tmp_path / "hub"
    Hub.folder.mkdir()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    with serving(Hub, monkeypatch) as here:
        monkeypatch.setattr("datasets.config.HF_ENDPOINT", here)
        yield Hub.folder


def table(levels: list[int], **columns: list[Any]) -> Any:
    """Grey pictures in a column img, and columns of labels."""
    images = [Image.new("RGB", (20, 16), (level, level, level)) for level in levels]
    kinds = {
        name: datasets.ClassLabel(names=["cat", "dog", "emu"])
        if name == "label"
        else datasets.Value("string" if isinstance(values[0], str) else "int64")
        for name, values in columns.items()
    }
    return datasets.Dataset.from_dict({"img": images, **columns}, features=datasets.Features({"img": datasets.Image(), **kinds}))


def source(path: str = "kept", **options: Any) -> HuggingFace:
    given = dict.fromkeys(["subset", "revision", "test_split", "image", "label", "range"])
    return HuggingFace(path=path, **(given | {"train_split": "train", "resolution": 16, "channels": 3, "fit": "crop"} | options))


def levels(images: HuggingFace, split: str = "train", *, workers: int = 0) -> tuple[list[int], list[int]]:
    """The level, and the label, of each image."""
    read = read_all(images.load(split), images.spec, workers=workers)  # type: ignore[arg-type]
    return read.pixels[:, 0, 8, 8].tolist(), read.labels.tolist()


@pytest.mark.parametrize("workers", [0, 1])
def test_splits_of_a_kept_data_set_have_their_class_labels(workers: int) -> None:
    datasets.DatasetDict(train=table([10, 20, 30], label=[2, 0, 2]), test=table([40], label=[1])).save_to_disk("kept")
    found = source()
    assert (found.name, found.count("train"), found.count("test"), found.spec) == ("kept", 3, 1, ImageSpec(16, 3, 3))
    assert levels(found, workers=workers) == ([10, 20, 30], [2, 0, 2])
    assert levels(found, "test") == ([40], [1])


def test_a_folder_of_tables_is_loaded_and_its_columns_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(Path("cache").absolute()))
    Path("tables").mkdir()
    table([10, 20, 30], kind=["b", "a", "b"], number=[5, 5, 9]).to_parquet("tables/train-00000.parquet")
    assert levels(source("tables")) == ([10, 20, 30], [0, 0, 0])
    assert levels(source("tables", label="kind"))[1] == [1, 0, 1]
    assert levels(source("tables", label="number"))[1] == [0, 0, 1]
    with pytest.raises(UserError, match=r"no split test; name one with data\.test_split="):
        source("tables").load("test")


def test_a_data_set_of_the_hub_is_downloaded_once(hub: Path) -> None:
    table([10, 20, 30], label=[2, 0, 2]).to_parquet(hub / "train.parquet")
    table([40], label=[1]).to_parquet(hub / "test.parquet")
    found = source("me/pictures")
    assert (found.name, found.count("train"), found.count("test"), found.spec) == ("pictures", 3, 1, ImageSpec(16, 3, 3))
    for file in hub.iterdir():
        file.write_bytes(b"")
    assert levels(source("me/pictures", revision=SHA)) == levels(found) == ([10, 20, 30], [2, 0, 2])


def test_pictures_beside_the_table_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(Path("cache").absolute()))
    for name in ("cat", "dog"):
        Path("folder", name).mkdir(parents=True)
        Image.new("RGB", (16, 16), (9, 9, 9)).save(f"folder/{name}/1.png")
    found = source("folder")
    assert levels(found) == ([9, 9], [0, 1])
    Path("folder/dog/1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="row 1 of column image cannot be read"):
        levels(found)


def test_the_listing_changes_with_the_labels_and_the_hash_with_the_pictures() -> None:
    found = []
    for i, kept in enumerate((table([10, 20], label=[0, 1]), table([10, 20], label=[1, 0]), table([10, 21], label=[0, 1]))):
        kept.save_to_disk(f"kept{i}")
        found.append(source(f"kept{i}"))
    first, labels, pictures = found
    assert first.listing != labels.listing
    assert first.load("train").sha256() == labels.load("train").sha256() != pictures.load("train").sha256()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "nobody/nothing"}, r"data\.path=nobody/nothing cannot be loaded as a data set of Hugging Face \(.*"),
        ({"train_split": "trian"}, r"data\.train_split=trian: no such split; did you mean train\?"),
        ({"test_split": "val"}, r"data\.test_split=val: no such split"),
        ({"image": "imgs"}, r"data\.image=imgs: no such column; did you mean img\?"),
        ({"image": "label"}, r"data\.image=label is no column of images"),
        ({"label": "class"}, r"data\.label=class: no such column"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_is_not_there_is_told_in_two_lines(options: dict[str, Any], said: str) -> None:
    table([10], label=[0]).save_to_disk("kept")
    with pytest.raises(UserError, match=said) as told:
        source(**options)
    assert len(str(told.value).splitlines()) <= 2


def test_what_leaves_a_doubt_is_asked_for() -> None:
    one, other = table([10], label=[0]), table([10]).rename_column("img", "second")
    datasets.concatenate_datasets([one, other], axis=1).save_to_disk("kept")
    with pytest.raises(
        UserError, match=r"data\.image=…: name one; there are 2 columns of images, and these columns: img, label, second"
    ):
        source()
    table([10], label=[-1]).save_to_disk("kept")
    with pytest.raises(UserError, match="label -1"):
        source()
    datasets.DatasetDict(train=table([10], label=[0]), test=table([10], other=[0])).save_to_disk("differing")
    with pytest.raises(UserError, match=r"the test split has other columns: img, other; data\.test_split=…"):
        source("differing")
