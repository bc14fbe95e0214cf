"""Images that a path names: a folder of pictures or an `.npz` file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sngan.config import Resolution
from sngan.data.decoding import FORMATS, Form
from sngan.data.image_folder import Pictures, checked
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.data.npz import Npz
from sngan.data.picture_files import find_pictures, open_in
from sngan.errors import UserError

GRID = "grid.png"
"""The file of the grid that `sngan sample` writes beside its images."""


def samples_of(path: Path) -> tuple[Images, ImageSpec]:
    """Samples, unchanged, in the order of their names; `UserError` unless all can be read and have one size."""
    if path.suffix in (".npz", ".npy"):
        source = _npz(path, "samples")
        return source.load("train"), source.spec
    root = path.expanduser()
    files = [name for name in find_pictures(root, "samples").files if Path(name).name != GRID]
    if not files:
        raise UserError(f"samples={path}: no pictures there but {GRID}")
    sizes = {name: _size(root, name) for name in files}
    width, height = sizes[files[0]]
    odd = next((name for name in files if sizes[name] != (width, width)), None)
    if odd:
        raise UserError(
            f"samples={path}: {odd} is {sizes[odd][0]} x {sizes[odd][1]} px, {files[0]} is {width} x {height}; samples are of one size"
        )
    spec = ImageSpec((height, width), 3, 0)
    return Pictures(root, files, [0] * len(files), Form(spec.resolution)), spec


def reference_at(path: Path, resolution: Resolution) -> tuple[Source, dict[str, Any]]:
    """The data set at a path, with pictures resized to the resolution, and its description in records."""
    if path.suffix in (".npz", ".npy"):
        return _npz(path, "against"), {"name": "npz", "path": str(path)}
    return Folder(path, resolution), {"name": "image_folder", "path": str(path), "resolution": resolution}


class Folder(Source):
    """The pictures of a folder as the training split, without grids of `sngan sample`."""

    def __init__(self, path: Path, resolution: Resolution):
        root = path.expanduser()
        files = [name for name in find_pictures(root, "against").files if Path(name).name != GRID]
        if not files:
            raise UserError(f"against={path}: no pictures there but {GRID}")
        self._pictures = Pictures(root, files, [0] * len(files), Form(resolution))
        self.name, self.spec = root.resolve().name, ImageSpec(resolution, 3, 0)

    def count(self, split: Split) -> int:
        if split != "train":
            raise UserError("a folder of pictures has no test split; take protocol.reference=train")
        return len(self._pictures)

    def load(self, split: Split) -> Images:
        self.count(split)
        try:
            return checked(self._pictures, "stop")
        except UserError as error:
            raise UserError(str(error).replace(", or leave them out with data.on_error=skip", "")) from None


def _npz(path: Path, key: str) -> Npz:
    try:
        return Npz.at(path)
    except UserError as error:
        said = (
            str(error).replace("data.path=", f"{key}=").replace("name one with data.train_images=…", "give one of them that name")
        )
        raise UserError(re.sub(r"; give (them, as )?data\..*", "; write them as uint8 [N, H, W, C]", said)) from None


def _size(root: Path, name: str) -> tuple[int, int]:
    """Width and height, from the head of the file."""
    from PIL import Image

    try:
        with open_in(root, name) as file, Image.open(file, formats=FORMATS) as image:
            return image.size
    except Exception as error:  # decoders raise almost anything on bytes that they do not expect
        raise UserError(f"samples: {root / name} cannot be read: {error or type(error).__name__}") from None
