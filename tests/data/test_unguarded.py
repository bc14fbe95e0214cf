"""A script without a main guard trains on files that worker processes decode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from conftest import TINY

SCRIPT = """
import sngan
from sngan.data import image_folder
from sngan.data.image_folder import ImageFolder, Pictures

open("times", "a").write("x")
image_folder.MANY = 1  # so that the check of the pictures has processes, too


class Mine(Pictures):
    pass


@sngan.register("data", "mine")
class Folder(ImageFolder):
    def load(self, split):
        found = super().load(split)
        return Mine(found.root, found.files, found.labels, found.form)


for data in ("image_folder", "mine"):
    form = {"resolution": 32, "channels": 3, "fit": "crop", "range": None}
    keys = {"path": "pictures", "test_path": None, **form, "on_error": "stop", "cache": False, "workers": 1, "resident_mb": 0}
    run = sngan.train(*WORDS, f"data={data}", *(f"data.{key}={'null' if value is None else value}" for key, value in keys.items()), run_dir=data)
    print(data, run.status)
"""


def test_a_script_without_a_guard_trains_on_picture_files() -> None:
    """With images whose class is ours, and with some whose class is the script's, which only a forked worker knows."""
    Path("pictures").mkdir()
    for i in range(8):
        Image.new("RGB", (32, 32), (i, i, i)).save(f"pictures/{i}.png")
    words = [*(word for word in TINY if not word.startswith("data.")), "steps=1", "protocol=none"]
    Path("script.py").write_text(SCRIPT.replace("WORDS", str(words)))
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["mine finished"], done.stderr
    assert "image_folder finished" in done.stdout
    assert Path("times").read_text() == "x", "a worker ran the script again"
