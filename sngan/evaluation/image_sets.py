"""Images that a path names: a folder of pictures or an `.npz` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sngan.data.image_folder import ImageFolder, Pictures, picture_files
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.data.npz import Npz
from sngan.errors import UserError
from sngan.processes import open_regular

GRID = "grid.png"
"""The file of the grid that `sngan sample` writes beside its images."""


def samples_of(path: Path) -> tuple[Images, ImageSpec]:
    """Samples, unchanged, in the order of their names; `UserError` unless all can be read and have one size."""
    if path.suffix == ".npz":
        source = _npz(path, "samples")
        return source.load("train"), source.spec
    root = path.expanduser()
    files = [name for name in picture_files(root, "samples") if Path(name).name != GRID]
    if not files:
        raise UserError(f"samples={path}: no pictures there but {GRID}")
    sizes = {name: _size(root / name) for name in files}
    width, height = sizes[files[0]]
    odd = next((name for name in files if sizes[name] != (width, width)), None)
    if odd:
        raise UserError(
            f"samples={path}: {odd} is {sizes[odd][0]} x {sizes[odd][1]} px, {files[0]} is {width} x {height}; samples are squares of one size"
        )
    return Pictures(root, files, [0] * len(files), width), ImageSpec(width, 3, 0)


def reference_at(path: Path, resolution: int) -> tuple[Source, dict[str, Any]]:
    """The data set at a path, with pictures resized to the resolution, and its description in records."""
    if path.suffix == ".npz":
        return _npz(path, "against"), {"name": "npz", "path": str(path)}
    return Folder(path, resolution), {"name": "image_folder", "path": str(path), "resolution": resolution}


class Folder(Source):
    """The pictures of a folder as the training split, without grids of `sngan sample`."""

    def __init__(self, path: Path, resolution: int):
        files = picture_files(path.expanduser(), "against")
        self._grids = [i for i, name in enumerate(files) if Path(name).name == GRID]
        self._n = len(files) - len(self._grids)
        if not self._n:
            raise UserError(f"against={path}: no pictures there but {GRID}")
        self._all = ImageFolder(path=path, test_path=None, resolution=resolution, on_error="stop")
        self.name, self.spec = self._all.name, ImageSpec(resolution, 3, 0)

    def count(self, split: Split) -> int:
        if split != "train":
            raise UserError("a folder of pictures has no test split; take protocol.reference=train")
        return self._n

    def load(self, split: Split) -> Images:
        self.count(split)
        try:
            pictures = self._all.load(split)
        except UserError as error:
            raise UserError(str(error).replace(", or leave them out with data.on_error=skip", "")) from None
        assert isinstance(pictures, Pictures)
        return pictures.without(self._grids)


def _npz(path: Path, key: str) -> Npz:
    try:
        return Npz(path=path, train_images=None, train_labels=None, test_images=None, test_labels=None)
    except UserError as error:
        said = str(error).replace("data.path=", f"{key}=")
        raise UserError(said.replace("name one with data.train_images=…", "give one of them that name")) from None


def _size(path: Path) -> tuple[int, int]:
    """Width and height, from the head of the file."""
    from PIL import Image

    from sngan.data.decoding import FORMATS

    try:
        with open_regular(path, follow=True) as file, Image.open(file, formats=FORMATS) as image:
            return image.size
    except Exception as error:  # decoders raise almost anything on bytes that they do not expect
        raise UserError(f"samples: {path} cannot be read: {error or type(error).__name__}") from None
