"""A folder of a few grey oblong pictures, from the first command to the last, by one override each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sngan.__main__ import main
from sngan.files import read_json, read_lines
from sngan.runs.checkpoint import open_checkpoint

SHORT = [
    "steps=2", "batch=4", "g_batch=4", "generator.widths=[8,4,4,4]", "generator.z_dim=8", "discriminator.width=4", "ema.recalibrate=1",
    "log_every=1", "sample_every=2", "save_every=2", "evaluate_every=2", "quick.n=16", "protocol.n=16", "data.workers=0", "device=cpu",
]  # fmt: skip


def pictures() -> None:
    """60 grey files of 48 x 32 px in two folders: rectangles at places of their own."""
    numbers = np.random.default_rng(0)
    for i in range(60):
        pixels = np.full((32, 48), 200, dtype=np.uint8)
        top, left = numbers.integers(0, 20), numbers.integers(0, 30)
        pixels[top : top + 10, left : left + 15] = numbers.integers(0, 120)
        path = Path("pictures", "ab"[i % 2], f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def test_a_folder_of_few_grey_oblong_pictures_goes_all_the_way() -> None:
    pictures()
    few = ["experiment=few_shot", "data.path=pictures", "data.resolution=[32,48]", *SHORT]
    assert main(["train", *few, "run_dir=first"]) == 0
    first = open_checkpoint("first")
    assert first.spec.shape == (1, 32, 48)
    assert main(["sample", "run=first", "n=4", "out=samples", "device=cpu"]) == 0
    with Image.open("samples/00000.png") as sample:
        assert (sample.size, sample.mode) == ((48, 32), "L")
    assert main(["evaluate", "run=first", "n=16", "device=cpu"]) == 0
    assert read_lines(Path("first/metrics.jsonl"))[-1]["by"] == "evaluate"
    assert main(["train", *few, "run_dir=second", "init=first"]) == 0
    (session,) = read_json(Path("second/run.json"))["sessions"]
    assert (session["from_step"], session["init"]["checkpoint"]) == (0, str(first.path))
    assert main(["train", *few, "run_dir=third", "init=first", "augment=ada", "conditional=true"]) == 0
    assert "augment_p" in read_lines(Path("third/scalars.jsonl"))[-1]
    assert main(["export", "run=second", "format=weights", "out=exported"]) == 0
    assert Path("exported/model.safetensors").is_file()
