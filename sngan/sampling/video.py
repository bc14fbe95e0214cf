"""Pictures as files: one as PNG, many in time as GIF or MP4."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sngan.errors import UserError
from sngan.files import check_writable, replace

if TYPE_CHECKING:
    from PIL.Image import Image

FPS = 20
"""Frames a second; a GIF counts in hundredths of a second, of which a frame takes five."""

QUALITY = "18"
"""The constant rate factor of x264: almost no visible loss."""


def check_output(path: Path) -> None:
    """Makes the folder of a picture or film; `UserError` if the file could not be written, or needs a package that is missing."""
    if path.suffix == ".mp4" and find_spec("av") is None:
        raise UserError(
            f"out={path}: MP4 needs the package av (the extra video): pip install av, or give out={path.with_suffix('.gif')}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(path)
    except OSError as error:
        raise UserError(f"out={path} cannot be written ({error.strerror}); give another out=FILE") from None


def write_pictures(frames: Iterator[Image], path: Path) -> None:
    """Writes RGB pictures of one size in the format of the file name: a PNG of one picture, or a film of `FPS` a second. A GIF repeats for ever.

    The file is replaced as a whole. Raises `OSError`.
    """
    replace(path, WRITERS[path.suffix](frames))


def png(frames: Iterator[Image]) -> bytes:
    """A PNG file of the one picture."""
    content = io.BytesIO()
    (picture,) = frames
    picture.save(content, "PNG")
    return content.getvalue()


def gif(frames: Iterator[Image]) -> bytes:
    """A GIF whose frames have 256 colours of their own; a frame that is repeated is stored once and shown for longer."""
    from PIL import Image

    content = io.BytesIO()
    pictures: list[Image.Image] = []
    durations: list[int] = []
    last = None
    for frame in frames:
        if frame is last:
            durations[-1] += 1000 // FPS
        else:
            pictures.append(frame.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))
            durations.append(1000 // FPS)
        last = frame
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return content.getvalue()


def mp4(frames: Iterator[Image]) -> bytes:
    """An H.264 film in the pixel format that every browser shows; it has colour at half the resolution, so width and height are made even."""
    import av
    from PIL import ImageOps

    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as file:
        stream = None
        for frame in frames:
            even = ImageOps.expand(frame, (0, 0, frame.width % 2, frame.height % 2), "white")
            if stream is None:
                stream = file.add_stream("libx264", rate=FPS, options={"crf": QUALITY})
                stream.width, stream.height, stream.pix_fmt = even.width, even.height, "yuv420p"
            file.mux(stream.encode(av.VideoFrame.from_image(even)))
        assert stream is not None
        file.mux(stream.encode())
    return content.getvalue()


WRITERS: dict[str, Callable[[Iterator[Image]], bytes]] = {".png": png, ".gif": gif, ".mp4": mp4}
"""Suffix of the file name -> writer."""
