"""On a small archive of the same kind, which torchvision downloads from a server in this process."""

import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10 as TORCHVISION

from sngan.data.cifar10 import CIFAR10
from sngan.data.images import TensorImages
from sngan.errors import UserError


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Path:
    """Three training images and one test image, of the grey level that is their label but for a red pixel beside the corner."""
    folder = tmp_path / "origin" / TORCHVISION.base_folder
    folder.mkdir(parents=True)
    contents = {
        "data_batch_1": {"data": np.arange(3, dtype=np.uint8)[:, None].repeat(3072, 1), "labels": [0, 1, 2]},
        "test_batch": {"data": np.full((1, 3072), 7, dtype=np.uint8), "labels": [7]},
        "batches.meta": {"label_names": list("abcdefghij")},
    }
    for name in ("data_batch_1", "test_batch"):
        contents[name]["data"][:, 1] = 200  # numbers are stored by colour, row and column
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    path = tmp_path / TORCHVISION.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=TORCHVISION.base_folder)
    monkeypatch.setattr(TORCHVISION, "url", f"{url}/{path.name}")
    monkeypatch.setattr(TORCHVISION, "tgz_md5", md5(path))
    monkeypatch.setattr(TORCHVISION, "train_list", [["data_batch_1", md5(folder / "data_batch_1")]])
    monkeypatch.setattr(TORCHVISION, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(TORCHVISION, "meta", TORCHVISION.meta | {"md5": md5(folder / "batches.meta")})
    return path


def test_images_are_downloaded_on_request_and_found_again(archive, tmp_path):
    for download in (True, False):
        images = CIFAR10(root=tmp_path / "data", download=download).load("train")
        assert isinstance(images, TensorImages)
        assert images.pixels.shape == (3, 3, 32, 32)
        assert images.pixels[:, 2, 5, 5].tolist() == images.labels.tolist() == [0, 1, 2]
        assert images.pixels[:, :, 0, 1].tolist() == [[200, label, label] for label in range(3)]
        assert images.pixels[:, 0, 1, 0].tolist() == [0, 1, 2]


def test_the_test_split_is_another(archive, tmp_path):
    images = CIFAR10(root=tmp_path / "data", download=True).load("test")
    assert (len(images), images[0][1]) == (1, 7)


def test_missing_files_are_said_at_once_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"(?s)data\.root=.*/none.*data\.root=….*data\.download=true.*data=npz data\.path="):
        CIFAR10(root=tmp_path / "none", download=False)


def test_a_damaged_file_is_not_unpickled(archive, tmp_path):
    source = CIFAR10(root=tmp_path / "data", download=True)
    source.load("train")
    (tmp_path / "data" / TORCHVISION.base_folder / "data_batch_1").write_bytes(b"other")
    with pytest.raises(UserError, match=r"data\.root=.*is damaged; data\.download=true"):
        CIFAR10(root=tmp_path / "data", download=False).load("train")
    assert len(CIFAR10(root=tmp_path / "data", download=True).load("train")) == 3


def test_a_failed_download_does_not_stand_in_the_way_of_the_next(archive, tmp_path):
    whole = archive.read_bytes()
    for content in (None, whole[:-10]):
        archive.unlink()
        if content is not None:
            archive.write_bytes(content)
        with pytest.raises(UserError, match=r"(?s)could not be downloaded to data\.root=.*try again, or .*data=npz"):
            CIFAR10(root=tmp_path / "data", download=True).load("train")
        archive.write_bytes(whole)
    assert len(CIFAR10(root=tmp_path / "data", download=True).load("train")) == 3


def test_a_folder_that_cannot_be_made_is_an_error_of_one_or_two_lines(archive, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not be downloaded to data\.root="):
        CIFAR10(root=tmp_path / "file" / "data", download=True).load("train")
