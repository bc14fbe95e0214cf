from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sngan.data import decoding
from sngan.data.decoding import SUFFIXES, Form


def read_picture(path: Path, form: Form) -> torch.Tensor:
    with path.open("rb") as file:
        return decoding.read_picture(file, form)


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
    assert torch.equal(read_picture(path, Form(8)), torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (20, 21), (3, 5)])
def test_any_size_becomes_a_square_of_the_resolution(path, size):
    Image.new("RGB", size).save(path)
    assert read_picture(path, Form(8)).shape == (3, 8, 8)


def test_the_centre_of_the_long_side_is_kept(path):
    image = Image.new("RGB", (60, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    image.save(path)
    assert read_picture(path, Form(10)).float().mean((1, 2)).tolist() == pytest.approx(BLUE, abs=5)


def test_shrinking_averages_instead_of_skipping(path):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(path)
    assert (read_picture(path, Form(8)).float() - 127.5).abs().max() < 8


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_accepted_suffix_is_a_format_that_is_read(tmp_path, suffix):
    halves((250, 60, 20), (20, 60, 250), size=(32, 32)).save(tmp_path / f"picture{suffix}")
    left, right = colours(read_picture(tmp_path / f"picture{suffix}", Form(32)))
    assert left == pytest.approx([250, 60, 20], abs=6)
    assert right == pytest.approx([20, 60, 250], abs=6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    halves((0, 0, 0), WHITE, size=(16, 16)).convert(mode).save(path)
    left, right = colours(read_picture(path, Form(16)))
    assert left == pytest.approx([0, 0, 0], abs=3)
    assert right == pytest.approx([255, 255, 255], abs=3)


def test_sixteen_bit_grey_keeps_its_upper_eight_bits(path):
    Image.fromarray(np.full((8, 8), 200 * 256 + 77, dtype=np.uint16)).save(path)
    assert (read_picture(path, Form(8)) == 200).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(path, mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 0, 8, 8))
    image.convert(mode).save(path)
    assert colours(read_picture(path, Form(8))) == ([255, 255, 255], [0, 0, 0])


def test_a_picture_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half a turn
    path = tmp_path / "picture.jpg"
    halves(RED, BLUE, size=(32, 32)).save(path, exif=exif, quality=95)
    left, right = colours(read_picture(path, Form(32)))
    assert left == pytest.approx(BLUE, abs=6)
    assert right == pytest.approx(RED, abs=6)


def test_a_large_jpeg_looks_as_if_it_was_decoded_whole(tmp_path):
    smooth = np.linspace(0, 255, 512).astype(np.uint8)
    Image.fromarray(np.stack(np.broadcast_arrays(smooth, smooth[:, None], 128), axis=-1).astype(np.uint8)).save(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    difference = read_picture(tmp_path / "a.jpg", Form(32)).float() - read_picture(tmp_path / "a.png", Form(32)).float()
    assert difference.abs().max() <= 3


def test_pixels_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), dtype=np.float32)).save(tmp_path / "picture.tif")
    with pytest.raises(ValueError, match="no known range"):
        read_picture(tmp_path / "picture.tif", Form(8))


def test_postscript_is_not_run_whatever_it_calls_itself(path):
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(OSError, match="cannot identify"):
        read_picture(path, Form(8))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "1"])
@pytest.mark.parametrize(("channels", "wanted"), [(1, [200]), (3, [200] * 3), (4, [200] * 3 + [255])])
def test_pictures_of_any_mode_get_the_channels_that_are_asked_for(tmp_path, mode, channels, wanted):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    Image.new("L", (8, 8), 255 if mode == "1" else 200).convert("RGB").convert(mode).save(path)
    image = read_picture(path, Form(8, channels))
    assert image.shape == (channels, 8, 8)
    expected = [255] * channels if mode == "1" else wanted
    assert image[:, 4, 4].tolist() == pytest.approx(expected, abs=26 if mode == "P" else 1)


def test_four_channels_keep_the_transparency(path):
    Image.new("RGBA", (8, 8), (10, 20, 30, 40)).save(path)
    assert read_picture(path, Form(8, 4))[:, 0, 0].tolist() == [10, 20, 30, 40]


def stripe(path: Path) -> Path:
    """White, 20 x 10 px, with a black margin of 5 px left and right."""
    image = Image.new("L", (20, 10))
    image.paste(255, (5, 0, 15, 10))
    image.save(path)
    return path


def test_crop_fills_the_resolution_and_cuts_out_the_centre(path):
    assert (read_picture(stripe(path), Form(10)) == 255).all()


def test_pad_keeps_the_whole_picture_in_the_middle_of_black(path):
    image = read_picture(stripe(path), Form((14, 24), 1, "pad"))[0]
    assert image.shape == (14, 24)
    assert torch.equal(image[2:12, 7:17], torch.full((10, 10), 255, dtype=torch.uint8))
    assert image.sum() == 255 * 100, "a smaller picture is not enlarged"
    shrunk = read_picture(path, Form((10, 10), 1, "pad"))[0]
    assert (shrunk[[0, 1, 8, 9]] == 0).all()
    assert shrunk[5, 5] > 240


def test_stretch_resizes_each_side_by_itself(path):
    image = read_picture(stripe(path), Form((10, 40), 1, "stretch"))[0]
    assert image.shape == (10, 40)
    assert image[5, [2, 20, 37]].tolist() == [0, 255, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_tiny_pictures_come_to_the_resolution(path, size, fit):
    Image.new("RGB", size, RED).save(path)
    assert read_picture(path, Form((8, 12), 3, fit)).shape == (3, 8, 12)


def test_more_than_16_bits_are_read_in_a_stated_range(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(tmp_path / "picture.tif")
    assert (read_picture(tmp_path / "picture.tif", Form(8, deep=(0.0, 1.0))) == 128).all()


def test_forms_that_differ_have_different_names():
    forms = [Form(8), Form(16), Form((8, 16)), Form(8, 1), Form(8, fit="pad"), Form(8, deep=(0, 4095)), Form(8, 1, "pad")]
    assert str(Form(8)) == str(Form((8, 8))) == "8", "hashes of squares cut out in RGB stay what they were"
    assert len({*map(str, forms)}) == len(forms)
