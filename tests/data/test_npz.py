import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sngan.data.images import ImageSpec, TensorImages
from sngan.data.npz import Npz
from sngan.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 0, 2, 1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def npz(path: Path, **keys: str) -> Npz:
    options: dict[str, str | None] = dict.fromkeys(("train_images", "train_labels", "test_images", "test_labels"))
    return Npz(path=path, **(options | keys))


def test_images_come_as_channels_first_with_their_labels(path):
    np.savez(path, images=IMAGES, labels=LABELS)
    images = npz(path).load("train")
    assert isinstance(images, TensorImages)
    assert torch.equal(images.pixels, torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    assert images.labels.tolist() == LABELS.tolist()


def test_the_name_is_the_file_s_and_the_spec_its_arrays(path):
    np.savez(path, images=IMAGES, labels=LABELS)
    source = npz(path)
    assert (source.name, source.spec) == ("mine", ImageSpec(resolution=8, channels=3, n_classes=3))


def test_no_labels_are_no_classes(path):
    np.savez_compressed(path, train_images=IMAGES)
    assert npz(path).spec.n_classes == 0
    assert npz(path).load("train")[5][1] == 0


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 1)])
def test_grey_images_may_lack_the_channel_axis(path, shape):
    np.savez(path, images=IMAGES[..., 0].reshape(shape))
    assert npz(path).spec.channels == 1
    assert torch.equal(npz(path).load("train")[3][0], torch.from_numpy(IMAGES[3, ..., 0])[None])


def test_arrays_in_column_order_are_read_alike(path):
    np.savez(path, images=np.asfortranarray(IMAGES))
    assert torch.equal(npz(path).load("train")[1][0], torch.from_numpy(IMAGES[1]).permute(2, 0, 1))


def test_train_and_test_arrays_are_recognised(path):
    np.savez(path, train_images=IMAGES, train_labels=LABELS, test_images=IMAGES[:2], test_labels=LABELS[:2])
    source = npz(path)
    assert (len(source.load("train")), len(source.load("test"))) == (6, 2)
    assert source.load("test")[1][1] == 2


def test_other_arrays_are_taken_by_name(path):
    np.savez(path, images=IMAGES, x=IMAGES[:4], y=LABELS[:4], z=IMAGES[4:])
    source = npz(path, train_images="x", train_labels="y", test_images="z")
    assert (len(source.load("train")), len(source.load("test")), source.spec.n_classes) == (4, 2, 3)


def test_pixels_are_not_decoded_for_the_spec(path):
    np.savez(path, images=np.zeros((100, 32, 32, 3), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] = 1  # a wrong checksum, which shows at the end of the array
    path.write_bytes(content)
    source = npz(path)
    assert source.spec.resolution == 32
    with pytest.raises(UserError, match=r"mine\.npz cannot be read .*is it whole"):
        source.load("train")


def test_a_missing_test_split_is_said_when_it_is_asked_for(path):
    np.savez(path, images=IMAGES)
    with pytest.raises(UserError, match=r"mine\.npz has no test split .*data\.test_images=.*protocol\.reference=train"):
        npz(path).load("test")


@pytest.mark.parametrize(
    ("arrays", "keys", "message"),
    [
        ({"pictures": IMAGES}, {}, r"has no array train_images or images; .*data\.train_images=.*allowed: pictures"),
        ({"images": IMAGES}, {"train_labels": "label"}, r"data\.train_labels=label: no such array.*allowed: images"),
        ({"images": IMAGES / 255}, {}, r"array images is float64 \[6, 8, 8, 3\]; images must be uint8"),
        ({"images": IMAGES.transpose(0, 3, 1, 2)}, {}, r"\[6, 3, 8, 8\]; images must be uint8 \[N, H, W, C\]"),
        ({"images": IMAGES[:, :4]}, {}, r"\[6, 4, 8, 3\]; .*square"),
        ({"images": IMAGES[:0]}, {}, r"\[0, 8, 8, 3\]"),
        ({"images": np.array([b"", None])}, {}, r"array images is object"),
        ({"images": IMAGES, "labels": LABELS[:5]}, {}, r"array labels is int64 \[5\]; labels of 6 images must be integers \[6\]"),
        ({"images": IMAGES, "labels": LABELS / 2}, {}, r"array labels is float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, {}, r"label -1; labels are class numbers, from 0 on"),
        ({"images": IMAGES, "test_images": IMAGES[:, 1:7, 1:7]}, {}, r"test images are \[6, 6, 3\], train images are \[8, 8, 3\]"),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES, "test_labels": LABELS + 1},
            {},
            r"test label 3 is no class of the training images, whose largest label is 2",
        ),
    ],
)
def test_unfit_arrays_are_named_at_once(path, arrays, keys, message):
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message):
        npz(path, **keys)


def test_a_missing_file_is_named(path):
    with pytest.raises(UserError, match=r"data\.path=.*mine\.npz: no such file"):
        npz(path)


def test_a_file_that_is_cut_short_or_no_archive_is_named(path):
    np.savez(path, images=IMAGES)
    for content in (path.read_bytes()[:-100], b"", pickle.dumps(IMAGES)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"data\.path=.*mine\.npz cannot be read as an \.npz file"):
            npz(path)


def header(shape: tuple[int, ...]) -> bytes:
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return written.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_an_array_that_is_shorter_than_it_says_takes_no_memory(path, method):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("images.npy", header((10**9, 32, 32, 3)) + bytes(100))
    with pytest.raises(UserError, match="array images is shorter than it says"):
        npz(path).load("train")


def test_an_array_that_the_memory_cannot_hold_is_refused_before_it_is_unpacked(path, monkeypatch):
    np.savez_compressed(path, images=np.zeros((1000, 32, 32, 3), dtype=np.uint8))
    monkeypatch.setattr("sngan.data.npz.memory", lambda: 10**6)
    with pytest.raises(UserError, match=r"array images takes 0\.0 GB, more than this machine has"):
        npz(path).load("train")


def test_a_header_in_many_brackets_is_told(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000)
    with pytest.raises(UserError, match=r"cannot be read as an \.npz file"):
        npz(path)
