"""Data sets in the layouts in which they are published, on small files of the same kind."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from sngan.config import Component
from sngan.data.celeba import CelebA
from sngan.data.cifar100 import CIFAR100
from sngan.data.fashion_mnist import FashionMNIST
from sngan.data.imagenet_folder import ImageNetFolder
from sngan.data.images import ImageSpec, TensorImages
from sngan.data.lsun import LSUN
from sngan.data.mnist import MNIST
from sngan.data.reading import read_all
from sngan.data.svhn import SVHN
from sngan.data.tiny_imagenet import TinyImageNet
from sngan.errors import UserError
from sngan.registry import build

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (4, 28, 28), np.uint8)
COLOURS = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def levels(source: CelebA | TinyImageNet | ImageNetFolder, split: str) -> list[tuple[int, int]]:
    """The level of the middle, and the label, of each image."""
    images = source.load(split)
    return [
        (int(image[0, image.shape[1] // 2, image.shape[2] // 2]), label) for image, label in (images[i] for i in range(len(images)))
    ]


def test_cifar100_takes_the_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    folder = tmp_path / "origin" / datasets.CIFAR100.base_folder
    folder.mkdir(parents=True)
    flat = COLOURS.transpose(0, 3, 1, 2).reshape(3, -1)
    for name, rows in (("train", slice(0, 2)), ("test", slice(2, 3))):
        content = {"data": flat[rows], "fine_labels": [99, 3, 7][rows], "coarse_labels": [19, 0, 1][rows]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(i) for i in range(100)]}))
    path = tmp_path / datasets.CIFAR100.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    monkeypatch.setattr(datasets.CIFAR100, "url", f"{url}/{path.name}")
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", md5(path.read_bytes()))
    for files, name in (("train_list", "train"), ("test_list", "test")):
        monkeypatch.setattr(datasets.CIFAR100, files, [[name, md5((folder / name).read_bytes())]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": md5((folder / "meta").read_bytes())})
    source = CIFAR100(root=tmp_path / "data", download=True)
    images = source.load("train")
    assert isinstance(images, TensorImages)
    assert torch.equal(images.pixels, torch.from_numpy(COLOURS[:2]).permute(0, 3, 1, 2))
    assert (images.labels.tolist(), source.load("test")[0][1], source.spec) == ([99, 3], 7, ImageSpec(32, 3, 100))


def idx(values: np.ndarray) -> bytes:
    """As LeCun stores arrays of bytes."""
    return struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.mark.parametrize(("kind", "published"), [(MNIST, datasets.MNIST), (FashionMNIST, datasets.FashionMNIST)])
def test_digits_are_grey_and_padded_with_black(
    kind: type[MNIST], published: type[datasets.MNIST], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    parts = {"train": slice(0, 3), "t10k": slice(3, 4)}
    files = {f"{part}-images-idx3-ubyte": idx(DIGITS[rows]) for part, rows in parts.items()}
    files |= {f"{part}-labels-idx1-ubyte": idx(np.array([5, 0, 9, 2], np.uint8)[rows]) for part, rows in parts.items()}
    for name, content in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(published, "mirrors", [f"{url}/"])
    monkeypatch.setattr(published, "resources", [(f"{name}.gz", md5((tmp_path / f"{name}.gz").read_bytes())) for name in files])
    for download in (True, False):
        source = kind(root=tmp_path / "data", download=download, resolution=32, fit="pad")
        images = source.load("train")
        assert isinstance(images, TensorImages)
        assert images.pixels.shape == (3, *source.spec.shape) == (3, 1, 32, 32)
        assert torch.equal(images.pixels[:, 0, 2:30, 2:30], torch.from_numpy(DIGITS[:3]))
        assert images.pixels.sum() == DIGITS[:3].sum(dtype=np.int64), "black around them"
        assert (images.labels.tolist(), source.load("test").labels.tolist()) == ([5, 0, 9], [2])
    assert torch.equal(
        kind(root=tmp_path / "data", download=False, resolution=28, fit="pad").load("test").pixels[0, 0],
        torch.from_numpy(DIGITS[3]),
    )


def test_svhn_calls_digit_0_class_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matlab = pytest.importorskip("scipy.io", reason="needs the extra svhn")
    listed = {}
    for split, rows in (("train", slice(0, 2)), ("test", slice(2, 3))):
        name = f"{split}_32x32.mat"
        labels = np.array([10, 1, 9], np.uint8)[rows, None]
        matlab.savemat(tmp_path / name, {"X": COLOURS[rows].transpose(1, 2, 3, 0), "y": labels})
        listed[split] = [f"nowhere/{name}", name, md5((tmp_path / name).read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    images = SVHN(root=tmp_path, download=False).load("train")
    assert isinstance(images, TensorImages)
    assert torch.equal(images.pixels, torch.from_numpy(COLOURS[:2]).permute(0, 3, 1, 2))
    assert images.labels.tolist() == [0, 1]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Four pictures, the second for validation and the last for tests: a grey ground, and a white square of 108 px in the middle."""
    folder = tmp_path / "data" / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for i in range(1, 5):
        image = Image.new("RGB", (178, 218), (20, 20, 20))
        image.paste((40 * i, 40 * i, 40 * i), (35, 55, 143, 163))
        image.save(folder / f"{i:06d}.jpg", quality=98)
    lines = [f"{i:06d}.jpg {part}" for i, part in ((1, 0), (2, 1), (3, 0), (4, 2))]
    (folder.parent / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_faces_are_split_as_published_and_cut_out_of_the_middle(faces: Path, zipped: bool) -> None:
    if zipped:
        with zipfile.ZipFile(faces.with_suffix(".zip"), "w") as archive:
            for path in sorted(faces.iterdir()):
                archive.write(path, f"img_align_celeba/{path.name}")
                path.unlink()
        faces.rmdir()
    source = CelebA(root=faces.parents[1], resolution=16, crop=178)
    assert (source.count("train"), source.count("test"), source.spec) == (2, 1, ImageSpec(16, 3, 0))
    assert [level for level, _ in levels(source, "train")] == pytest.approx([40, 120], abs=3)
    assert [level for level, _ in levels(source, "test")] == pytest.approx([160], abs=3)
    whole, tight = source.load("train")[0][0], CelebA(root=faces.parents[1], resolution=16, crop=108).load("train")[0][0]
    assert whole[0, 0, 0] == pytest.approx(20, abs=3)
    assert tight[0, 1, 1] == pytest.approx(40, abs=3)
    assert source.load("train").sha256() != CelebA(root=faces.parents[1], resolution=16, crop=108).load("train").sha256()


def test_lsun_is_read_from_its_databases_also_by_workers(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb", reason="needs the extra lsun")
    for folder, shades in (("bedroom_train_lmdb", (10, 20, 30)), ("bedroom_val_lmdb", (40,))):
        with lmdb.open(str(tmp_path / folder)) as database, database.begin(write=True) as change:
            for shade in shades:
                content = io.BytesIO()
                Image.new("RGB", (40, 30), (shade, shade, shade)).save(content, "WEBP", lossless=True)
                change.put(f"{shade:040x}".encode(), content.getvalue())
    source = LSUN(root=tmp_path, category="bedroom", resolution=(16, 24))
    assert (source.name, source.count("train"), source.count("test"), source.spec) == (
        "lsun_bedroom",
        3,
        1,
        ImageSpec((16, 24), 3, 0),
    )
    images = source.load("train")
    for workers in (0, 1):
        read = read_all(images, source.spec, workers=workers).pixels
        assert read.shape == (3, 3, 16, 24)
        assert read[:, 0, 8, 8].tolist() == [10, 20, 30]
    assert images.sha256() != LSUN(root=tmp_path, category="bedroom", resolution=16).load("train").sha256()
    (tmp_path / "church_train_lmdb").mkdir()
    (tmp_path / "bedroom_val_lmdb").rename(tmp_path / "church_val_lmdb")
    (tmp_path / "church_train_lmdb" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"church_train_lmdb cannot be read as an LMDB database"):
        LSUN(root=tmp_path, category="church", resolution=16).count("train")


@pytest.fixture
def tiny_imagenet(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "tiny-imagenet-200"
    for level, name in ((10, "train/n02/images/n02_0.JPEG"), (20, "train/n01/images/n01_0.JPEG"), (30, "val/images/val_0.JPEG")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (level, level, level)).save(folder / name)
    (folder / "train/n01/n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t62\t63\n")
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\n")
    return folder


def test_tiny_imagenet_has_its_validation_pictures_for_tests(tiny_imagenet: Path) -> None:
    source = TinyImageNet(root=tiny_imagenet.parent, resolution=64)
    assert source.spec == ImageSpec(64, 3, 2)
    assert levels(source, "train") == [(20, 0), (10, 1)]
    assert levels(source, "test") == [(30, 1)]
    (tiny_imagenet / "val/val_annotations.txt").write_text("val_0.JPEG\tn03\n")
    with pytest.raises(UserError, match=r"val_annotations\.txt cannot be read .*a picture and its class in each line"):
        TinyImageNet(root=tiny_imagenet.parent, resolution=64)


def test_imagenet_is_two_folders_of_the_same_classes(tmp_path: Path) -> None:
    for level, name in ((10, "train/n02/a.JPEG"), (20, "train/n01/b.JPEG"), (30, "val/n02/c.JPEG")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 70), (level, level, level)).save(tmp_path / name)
    source = ImageNetFolder(root=tmp_path, resolution=16, on_error="stop", cache=False)
    assert (source.name, source.spec) == ("imagenet", ImageSpec(16, 3, 2))
    assert levels(source, "train") == [(20, 0), (10, 1)]
    assert levels(source, "test") == [(30, 1)]


OPTIONS = {
    "cifar100": {"download": False},
    "mnist": {"download": False, "resolution": 32, "fit": "pad"},
    "fashion_mnist": {"download": False, "resolution": 32, "fit": "pad"},
    "svhn": {"download": False},
    "lsun": {"category": "bedroom", "resolution": 64},
    "celeba": {"resolution": 64, "crop": 178},
    "tiny_imagenet": {"resolution": 64},
    "imagenet_folder": {"resolution": 128, "on_error": "stop", "cache": "auto"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_missing_is_named_with_where_to_get_it(name: str) -> None:
    with pytest.raises(
        UserError, match=r"(?s)is not in data\.root=nowhere \(no nowhere.*\).*(data\.download=true|https?://)"
    ) as told:
        build("data", Component(name=name, root="nowhere", **OPTIONS[name]))
    assert len(str(told.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("name", "content"), [("list_eval_partition.txt", "000001.jpg\n"), ("list_eval_partition.txt", "\xff 0 1\n")]
)
def test_a_damaged_list_of_faces_is_named(faces: Path, name: str, content: str) -> None:
    (faces.parent / name).write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{name} cannot be read .*a picture and its part in each line"):
        CelebA(root=faces.parents[1], resolution=16, crop=178)
