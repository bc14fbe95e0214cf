import multiprocessing
from pathlib import Path

import pytest
import torch
from PIL import Image

from sngan.data.decoding import Form
from sngan.data.image_folder import Pictures
from sngan.data.images import ImageSpec
from sngan.data.reading import CHUNK, read, read_all
from sngan.errors import UserError


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_fails_in_a_worker_is_reported_in_one_line(tmp_path: Path, workers: int):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^\S*broken\.png cannot be read: it is no picture$"):
        next(read(Pictures(tmp_path, ["broken.png"], [0], Form(8)), [[0]], workers=workers))
    assert not multiprocessing.active_children()


def test_all_images_are_read_in_their_order(tmp_path: Path):
    for level in (10, 20):
        Image.new("RGB", (8, 8), (level, level, level)).save(tmp_path / f"{level}.png")
    files = ["10.png", "20.png"] * CHUNK
    images = read_all(Pictures(tmp_path, files, list(range(len(files))), Form(8)), ImageSpec(8, 3, 0), workers=0)
    assert torch.equal(images.pixels[:, 0, 0, 0], torch.tensor([10, 20], dtype=torch.uint8).repeat(CHUNK))
    assert images.labels.tolist() == list(range(len(files)))
