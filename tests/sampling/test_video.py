from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sngan.errors import UserError
from sngan.sampling.video import FPS, check_output, write_pictures


def frames(n: int, size: tuple[int, int] = (64, 48)) -> Iterator[Image.Image]:
    """Of one grey level each, which rises."""
    return (Image.new("RGB", size, (20 * i, 20 * i, 20 * i)) for i in range(n))


def test_a_gif_repeats_for_ever_at_its_rate() -> None:
    write_pictures(frames(5), Path("film.gif"))
    with Image.open("film.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (5, (64, 48), 0)
        for i in range(5):
            film.seek(i)
            assert film.info["duration"] == 1000 // FPS
            assert (np.asarray(film.convert("RGB")) == 20 * i).all()


def test_frames_that_stay_the_same_take_their_time() -> None:
    still = Image.new("RGB", (8, 8), "red")
    write_pictures(iter([still, still, still, Image.new("RGB", (8, 8), "blue")]), Path("film.gif"))
    with Image.open("film.gif") as film:
        durations = []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
    assert sum(durations) == 4 * 1000 // FPS


@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_an_mp4_has_each_frame_and_an_even_size(size: tuple[int, int]) -> None:
    av = pytest.importorskip("av")
    write_pictures(frames(5, size), Path("film.mp4"))
    with av.open("film.mp4") as film:
        stream = film.streams.video[0]
        assert (stream.average_rate, stream.width, stream.height, stream.pix_fmt) == (FPS, 64, 48, "yuv420p")
        levels = [frame.to_ndarray(format="rgb24")[:40, :40].mean() for frame in film.decode(stream)]
    assert levels == pytest.approx([0, 20, 40, 60, 80], abs=3)


def test_one_picture_is_a_png() -> None:
    write_pictures(frames(1), Path("picture.png"))
    with Image.open("picture.png") as picture:
        assert picture.size == (64, 48)


def test_mp4_without_its_package_is_one_line_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)  # as if it were not installed
    with pytest.raises(
        UserError, match=r"out=film\.mp4: MP4 needs the package av \(the extra video\): pip install av, or give out=film\.gif$"
    ):
        check_output(Path("film.mp4"))
    check_output(Path("film.gif"))


def test_a_file_that_cannot_be_written_is_said_before_the_work() -> None:
    Path("folder.gif").mkdir()
    Path("file").touch()
    for path in (Path("folder.gif"), Path("file/film.gif")):
        with pytest.raises(UserError, match="cannot be written"):
            check_output(path)


def test_checking_makes_the_folder_and_leaves_nothing_in_it() -> None:
    check_output(Path("new/folder/film.gif"))
    assert list(Path("new/folder").iterdir()) == []


def test_a_film_that_breaks_off_leaves_the_one_before() -> None:
    write_pictures(frames(2), Path("film.gif"))
    before = Path("film.gif").read_bytes()

    def broken() -> Iterator[Image.Image]:
        yield from frames(2)
        raise RuntimeError("the generator breaks")

    with pytest.raises(RuntimeError, match="breaks"):
        write_pictures(broken(), Path("film.gif"))
    assert Path("film.gif").read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["film.gif"]
