import io
import logging
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


def npz(path: Path, **keys: object) -> Npz:
    nothing = dict.fromkeys(("train_images", "train_labels", "test_images", "test_labels", "layout", "range", "resolution"))
    return Npz(path=path, **({**nothing, "channels": "auto", "fit": "crop", "renumber": True} | keys))


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


FORMS = {
    "float in [0, 1]": IMAGES / 255,
    "float32 in [-1, 1]": (IMAGES / 127.5 - 1).astype(np.float32),
    "float16 in [0, 255]": IMAGES.astype(np.float16),
    "int64": IMAGES.astype(np.int64),
    "channels first": IMAGES.transpose(0, 3, 1, 2),
    "columns first": np.asfortranarray(IMAGES),
    "16 bits": IMAGES.astype(np.uint16) * 257,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_without_a_doubt_is_the_same_images(path, form):
    np.savez(path, images=FORMS[form])
    assert torch.equal(npz(path).load("train").pixels, torch.from_numpy(IMAGES).permute(0, 3, 1, 2))


@pytest.mark.parametrize("white", [1, 1023, 4095, 16383, 65535])
def test_the_bits_of_whole_numbers_are_those_that_their_values_need(path, white):
    images = np.round(IMAGES / 255 * white).astype(np.uint16)
    images[0, 0, 0, 0] = white
    np.savez(path, images=images)
    found = npz(path).load("train").pixels
    assert torch.equal(found, torch.from_numpy(np.rint(images * (255 / white)).astype(np.uint8)).permute(0, 3, 1, 2))


def test_the_range_of_the_training_images_is_that_of_the_test_images(path):
    np.savez(path, train_images=IMAGES.astype(np.uint16) * 16, test_images=IMAGES[:2] // 2)
    held_out = npz(path).load("test").pixels
    assert torch.equal(held_out, torch.from_numpy(np.rint(IMAGES[:2] // 2 * (255 / 4095)).astype(np.uint8)).permute(0, 3, 1, 2))


def test_a_stated_range_is_used(path):
    np.savez(path, images=IMAGES.astype(np.int16) - 1000)
    assert torch.equal(npz(path, range=(-1000.0, -745.0)).load("train").pixels, torch.from_numpy(IMAGES).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("images", "keys", "message"),
    [
        (
            IMAGES.astype(np.int16) - 1000,
            {},
            r"values from -1000 to -745, which do not say what black and white are; .*data\.range=\[0,255\]",
        ),
        (IMAGES / 2, {}, r"values from 0 to 127\.5, .*data\.range="),
        (np.full((2, 8, 8), np.nan), {}, r"values from nan to nan, .*data\.range="),
        (IMAGES, {"range": (0.0, 100.0)}, r"values from 0 to 255, beyond data\.range=\[0,100\]"),
    ],
)
def test_values_in_doubt_are_asked_for_by_the_key(path, images, keys, message):
    np.savez(path, images=images)
    with pytest.raises(UserError, match=message):
        npz(path, **keys).load("train")


def test_eight_bits_of_which_one_is_used_are_as_they_are_with_a_warning(path, caplog):
    np.savez(path, images=IMAGES // 128)
    assert npz(path).load("train").pixels.max() == 1
    assert "no value above 1 of 255 and so is black; data.range=[0,1] makes 1 white" in caplog.text
    assert npz(path, range=(0.0, 1.0)).load("train").pixels.max() == 255


def test_the_array_of_an_npy_file_is_the_images(tmp_path):
    np.save(tmp_path / "mine.npy", IMAGES)
    source = npz(tmp_path / "mine.npy")
    assert (source.name, source.spec, source.count("train")) == ("mine", ImageSpec(8, 3, 0), 6)
    assert torch.equal(source.load("train").pixels, torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    content = (tmp_path / "mine.npy").read_bytes()
    (tmp_path / "mine.npy").write_bytes(content[:-10])
    with pytest.raises(UserError, match=r"mine\.npy cannot be read as an \.npy file .*is it whole"):
        source.load("train")


@pytest.mark.parametrize("keys", [("x_train", "y_train"), ("X", "y"), ("arr_0", "label"), ("faces", "targets")])
def test_names_that_people_use_are_recognised(path, keys):
    np.savez(path, **dict(zip(keys, (IMAGES, LABELS), strict=True)))
    assert npz(path).load("train").labels.tolist() == LABELS.tolist()


LABEL_FORMS = {
    "column": LABELS[:, None],
    "one-hot": np.eye(3)[LABELS],
    "whole floats": LABELS.astype(np.float32),
    "text": np.array(["ant", "bee", "cat"])[LABELS],
    "bytes": np.array([b"ant", b"bee", b"cat"])[LABELS],
    "from 1": LABELS + 1,
    "with gaps": LABELS * 10,
    "numbers as text": np.array(["9", "10", "100"])[LABELS],
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_labels_of_every_form_are_the_same_classes(path, form):
    np.savez(path, images=IMAGES, labels=LABEL_FORMS[form], test_images=IMAGES[:2], test_labels=LABEL_FORMS[form][:2])
    source = npz(path)
    assert source.spec.n_classes == 3
    assert source.load("train").labels.tolist() == LABELS.tolist()
    assert source.load("test").labels.tolist() == LABELS[:2].tolist()


def test_text_that_is_none_is_told(path):
    labels = np.array(["a", "b"] * 3)
    labels.view(np.uint32)[0] = 0x41FC01  # beyond all characters
    np.savez(path, images=IMAGES, labels=labels)
    with pytest.raises(UserError, match=r"array labels is damaged: it is to hold text"):
        npz(path)


def test_without_renumbering_labels_are_class_numbers_as_they_are(path):
    np.savez(path, images=IMAGES, labels=LABELS * 10)
    source = npz(path, renumber=False)
    assert (source.spec.n_classes, source.load("train").labels.tolist()) == (21, (LABELS * 10).tolist())


def test_loading_says_what_was_found(path, caplog):
    caplog.set_level(logging.INFO)
    np.savez(path, x_train=(IMAGES / 127.5 - 1).astype(np.float32).transpose(0, 3, 1, 2), y_train=np.array(["a", "b", "c"])[LABELS])
    npz(path).load("train")
    assert caplog.messages == [
        f"data.path={path}: 6 train images of 3 x 8 px from array x_train, float32 in [-1, 1], channels first; labels a…c numbered 0…2"
    ]


def test_images_need_not_be_square(path):
    np.savez(path, images=IMAGES[:, :6])
    assert npz(path).load("train").pixels.shape == (6, *npz(path).spec.shape) == (6, 3, 6, 8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_converted_as_asked_for(path, channels):
    grey = np.repeat(IMAGES[..., :1], 3, axis=3)
    for stored in (grey[..., :1], grey, np.concatenate([grey, np.full((6, 8, 8, 1), 255, np.uint8)], 3)):
        np.savez(path, images=stored)
        source = npz(path, channels=channels)
        images = source.load("train").pixels
        assert source.spec.shape == images.shape[1:] == (channels, 8, 8)
        assert torch.equal(images[:, 0], torch.from_numpy(grey[..., 0]))
        assert channels < 4 or bool((images[:, 3] == 255).all())


def test_transparency_is_laid_over_white_in_three_channels_and_kept_in_four(path):
    np.savez(path, images=np.zeros((2, 8, 8, 4), np.uint8))
    assert bool((npz(path, channels=3).load("train").pixels == 255).all())
    assert npz(path).spec.channels == 4
    assert bool((npz(path).load("train").pixels == 0).all())


def test_small_images_are_padded_with_black_and_not_enlarged(path):
    np.savez(path, images=IMAGES[..., 0])
    images = npz(path, resolution=(12, 10), fit="pad").load("train").pixels
    assert images.shape == (6, 1, 12, 10)
    assert torch.equal(images[:, 0, 2:10, 1:9], torch.from_numpy(IMAGES[..., 0]))
    assert images.sum() == IMAGES[..., 0].sum(dtype=np.int64)


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
        (
            {"pictures": IMAGES, "scans": IMAGES},
            {},
            r"has no array train_images, images, .*data\.train_images=.*allowed: pictures, scans",
        ),
        ({"images": IMAGES}, {"train_labels": "label"}, r"data\.train_labels=label: no such array.*allowed: images"),
        (
            {"images": IMAGES[..., :2]},
            {},
            r"array images is uint8 \[6, 8, 8, 2\]; images are numbers \[N, H, W, C\], .* C = 1, 3 or 4",
        ),
        ({"images": IMAGES.reshape(6, -1)}, {}, r"\[6, 192\]; images are numbers \[N, H, W, C\]"),
        ({"images": IMAGES}, {"layout": "nchw"}, r"C = 1, 3 or 4 \(data\.layout=nchw\)"),
        ({"images": IMAGES[:, :3]}, {}, r"read in two ways; give data\.layout=nhwc or data\.layout=nchw"),
        ({"images": IMAGES[0]}, {}, r"\[8, 8, 3\], whose axes .*data\.layout=nhw, or give \[N, H, W, C\]"),
        ({"images": IMAGES.astype(str)}, {}, r"array images is <U3 .*; images are numbers"),
        ({"images": IMAGES}, {"range": (1.0, 1.0)}, r"data\.range=\[1,1\]: give the values of black and white"),
        ({"images": IMAGES[:0]}, {}, r"\[0, 8, 8, 3\]"),
        ({"images": np.array([b"", None])}, {}, r"array images is object .* never unpickled; .*data=image_folder"),
        (
            {"images": IMAGES, "labels": LABELS[:5]},
            {},
            r"array labels is int64 \[5\]; labels of 6 images are whole numbers or text \[6\]",
        ),
        ({"images": IMAGES, "labels": LABELS / 4}, {}, r"array labels is float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, {}, r"label -1; labels are class numbers, from 0 on"),
        ({"images": IMAGES, "test_images": IMAGES[:, 1:7, 1:7]}, {}, r"test images are \[3, 6, 6\], train images are \[3, 8, 8\]"),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES, "test_labels": LABELS + 1},
            {},
            r"test label 3 is no class of the training images, whose labels are 0…2",
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
    monkeypatch.setattr("sngan.data.numpy_files.memory", lambda: 10**6)
    with pytest.raises(UserError, match=r"array images takes 0\.0 GB, more than this machine has"):
        npz(path).load("train")


def test_a_header_in_many_brackets_is_told(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000)
    with pytest.raises(UserError, match=r"cannot be read as an \.npz file"):
        npz(path)
