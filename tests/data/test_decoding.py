import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sngan.data.decoding import SUFFIXES, decode, read_picture

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.png"


def halves(left: tuple[int, ...], right: tuple[int, ...], *, size: tuple[int, int] = (8, 8)) -> Image.Image:
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def colours(image: torch.Tensor) -> tuple[list[int], list[int]]:
    """Of the left and right edge, half-way down."""
    middle = image.shape[1] // 2
    return image[:, middle, 0].tolist(), image[:, middle, -1].tolist()


def test_a_square_picture_of_the_right_size_is_unchanged(path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    assert torch.equal(read_picture(path, 8), torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (20, 21), (3, 5)])
def test_any_size_becomes_a_square_of_the_resolution(path, size):
    Image.new("RGB", size).save(path)
    assert read_picture(path, 8).shape == (3, 8, 8)


def test_the_centre_of_the_long_side_is_kept(path):
    image = Image.new("RGB", (60, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    image.save(path)
    assert read_picture(path, 10).float().mean((1, 2)).tolist() == pytest.approx(BLUE, abs=5)


def test_shrinking_averages_instead_of_skipping(path):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(path)
    assert (read_picture(path, 8).float() - 127.5).abs().max() < 8


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_accepted_suffix_is_a_format_that_is_read(tmp_path, suffix):
    halves((250, 60, 20), (20, 60, 250), size=(32, 32)).save(tmp_path / f"picture{suffix}")
    left, right = colours(read_picture(tmp_path / f"picture{suffix}", 32))
    assert left == pytest.approx([250, 60, 20], abs=6)
    assert right == pytest.approx([20, 60, 250], abs=6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    halves((0, 0, 0), WHITE, size=(16, 16)).convert(mode).save(path)
    left, right = colours(read_picture(path, 16))
    assert left == pytest.approx([0, 0, 0], abs=3)
    assert right == pytest.approx([255, 255, 255], abs=3)


def test_sixteen_bit_grey_keeps_its_upper_eight_bits(path):
    Image.fromarray(np.full((8, 8), 200 * 256 + 77, dtype=np.uint16)).save(path)
    assert (read_picture(path, 8) == 200).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(path, mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 0, 8, 8))
    image.convert(mode).save(path)
    assert colours(read_picture(path, 8)) == ([255, 255, 255], [0, 0, 0])


def test_a_picture_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half a turn
    path = tmp_path / "picture.jpg"
    halves(RED, BLUE, size=(32, 32)).save(path, exif=exif, quality=95)
    left, right = colours(read_picture(path, 32))
    assert left == pytest.approx(BLUE, abs=6)
    assert right == pytest.approx(RED, abs=6)


def test_a_large_jpeg_looks_as_if_it_was_decoded_whole(tmp_path):
    smooth = np.linspace(0, 255, 512).astype(np.uint8)
    Image.fromarray(np.stack(np.broadcast_arrays(smooth, smooth[:, None], 128), axis=-1).astype(np.uint8)).save(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    difference = read_picture(tmp_path / "a.jpg", 32).float() - read_picture(tmp_path / "a.png", 32).float()
    assert difference.abs().max() <= 3


def test_pixels_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), dtype=np.float32)).save(tmp_path / "picture.tif")
    with pytest.raises(ValueError, match="no known range"):
        read_picture(tmp_path / "picture.tif", 8)


def test_postscript_is_not_run_whatever_it_calls_itself(path):
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(OSError, match="cannot identify"):
        read_picture(path, 8)


@pytest.mark.parametrize("place", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_is_no_file_is_refused_at_once(place: Callable[[Path], None]) -> None:
    place(Path("a.png"))
    with pytest.raises(OSError, match="it is no regular file"):
        decode(Path("a.png"), 32)
