"""The curve of score against step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sngan.inspection.plot import write_curves

FALLING = {"fid": [(0, 90.0), (1000, 30.0), (2000, 40.0)]}


def draw(
    name: str, curves: dict[str, list[tuple[int, float]]] = FALLING, best: int = 1000, real: float | None = None
) -> np.ndarray:
    write_curves(curves, Path(name), best=dict.fromkeys(curves, best), real={} if real is None else dict.fromkeys(curves, real))
    with Image.open(name) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_same_scores_give_the_same_picture_and_others_another() -> None:
    first = draw("a.png")
    assert np.array_equal(first, draw("b.png"))
    assert not np.array_equal(first, draw("c.png", {"fid": [(0, 90.0), (1000, 30.0), (2000, 80.0)]}))
    assert not np.array_equal(first, draw("d.png", best=2000))
    assert not np.array_equal(first, draw("e.png", real=5.0))


def test_each_score_has_a_panel() -> None:
    one, two = draw("a.png"), draw("b.png", {**FALLING, "is": [(0, 1.0), (1000, 8.0), (2000, 7.0)]})
    assert two.shape[0] == 2 * one.shape[0]
    assert two.shape[1] == one.shape[1]


def test_a_single_checkpoint_is_a_point_that_can_be_seen() -> None:
    single = draw("a.png", {"fid": [(1000, 30.0)]})
    blue = (abs(single - [31, 119, 180]) < 20).all(axis=2)  # matplotlib's tab:blue
    assert blue.sum() > 10


def test_the_picture_is_replaced_as_a_whole() -> None:
    Path("a.png").write_bytes(b"older")
    draw("a.png")
    assert [path.name for path in Path().iterdir()] == ["a.png"]


def test_a_folder_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(OSError, match="nowhere"):
        draw("nowhere/a.png")


def test_nothing_of_pyplots_global_state_is_touched() -> None:
    program = """
import sys
from pathlib import Path
from sngan.inspection.plot import write_curves
write_curves({"fid": [(0, 1.0)]}, Path("a.png"), best={"fid": 0}, real={})
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
