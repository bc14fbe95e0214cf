"""On a small archive of the same kind, which torchvision downloads from a server in this process."""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import STL10 as TORCHVISION

from sngan.data.images import TensorImages
from sngan.data.stl10 import STL10
from sngan.errors import UserError

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 3, 96, 96), np.uint8)
"""Four unlabelled ones and one of the test split, [N, 3, H, W]."""


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Path:
    """As Stanford packs it: pictures are stored with their columns first, labels count from 1."""
    folder = tmp_path / "origin" / TORCHVISION.base_folder
    folder.mkdir(parents=True)
    stored = PICTURES.transpose(0, 1, 3, 2)
    contents = {
        "train_X.bin": stored[:1], "train_y.bin": np.array([3], np.uint8), "unlabeled_X.bin": stored[:4],
        "test_X.bin": stored[4:], "test_y.bin": np.array([10], np.uint8),
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content.tobytes())
    path = tmp_path / TORCHVISION.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=TORCHVISION.base_folder)
    monkeypatch.setattr(TORCHVISION, "url", f"{url}/{path.name}")
    monkeypatch.setattr(TORCHVISION, "tgz_md5", md5(path))
    for files in ("train_list", "test_list"):
        monkeypatch.setattr(TORCHVISION, files, [[name, md5(folder / name)] for name, _ in getattr(TORCHVISION, files)])
    return path


def stl10(root: Path, *, download: bool = True, resolution: int = 48) -> STL10:
    return STL10(root=root, download=download, resolution=resolution)


def test_the_unlabelled_images_are_downloaded_resized_and_found_again(tmp_path):
    for download in (True, False):
        images = stl10(tmp_path / "data", download=download).load("train")
        assert isinstance(images, TensorImages)
        assert images.pixels.shape == (4, 3, 48, 48)
        for image, picture in zip(images.pixels, PICTURES, strict=False):
            resized = Image.fromarray(picture.transpose(1, 2, 0)).resize((48, 48), Image.Resampling.BILINEAR)
            assert (image.permute(1, 2, 0).numpy() == np.asarray(resized)).all()


def test_the_test_split_is_another(tmp_path):
    images = stl10(tmp_path / "data", resolution=96).load("test")
    assert (images.pixels.numpy() == PICTURES[4:]).all()


def test_there_are_no_labels_to_condition_on(tmp_path):
    source = stl10(tmp_path / "data")
    assert (source.spec.resolution, source.spec.n_classes) == (48, 0)
    assert source.load("train").labels.tolist() == [0] * 4


def test_missing_files_are_said_at_once_with_what_to_do(tmp_path):
    with pytest.raises(
        UserError, match=r"(?s)STL-10 is not in data\.root=.*/none.*data\.root=….*data\.download=true.*data=npz data\.path="
    ):
        stl10(tmp_path / "none", download=False)


def test_a_damaged_file_is_told_and_replaced(tmp_path):
    stl10(tmp_path / "data").load("train")
    (tmp_path / "data" / TORCHVISION.base_folder / "unlabeled_X.bin").write_bytes(b"other")
    with pytest.raises(UserError, match=r"STL-10 in data\.root=.*is damaged; data\.download=true replaces it"):
        stl10(tmp_path / "data", download=False).load("train")
    assert len(stl10(tmp_path / "data").load("train")) == 4


def test_a_failed_download_does_not_stand_in_the_way_of_the_next(archive, tmp_path):
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-10])
    with pytest.raises(UserError, match=r"(?s)STL-10 could not be downloaded to data\.root=.*try again, or .*data=npz"):
        stl10(tmp_path / "data").load("train")
    archive.write_bytes(whole)
    assert len(stl10(tmp_path / "data").load("train")) == 4
