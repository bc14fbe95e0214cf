"""LSUN, one category of scenes (Yu et al. 2015), in the databases that its authors give out. They state no licence; the pictures are for research.

`data.py export` of its authors writes picture files instead, which data=image_folder reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sngan.config import Resolution
from sngan.data.decoding import Form
from sngan.data.encoded import EncodedImages
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.errors import UserError
from sngan.registry import register


@register("data", "lsun")
class LSUN(Source):
    """The pictures of a category, without labels; those of its validation database, 300, are the test split.

    The short side, of 256 px, is resized to `resolution` (Lanczos) and the centre cut out. `root` holds the folders `<category>_train_lmdb`
    and `<category>_val_lmdb`. Needs the extra lsun. A picture that cannot be read stops the run where it comes up. The databases are to be
    from their authors: a changed one may end the process.
    """

    def __init__(self, *, root: Path, category: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")], resolution: Resolution):
        self.name = f"lsun_{category}"
        folders: dict[Split, Path] = {
            "train": root.expanduser() / f"{category}_train_lmdb",
            "test": root.expanduser() / f"{category}_val_lmdb",
        }
        for folder in folders.values():
            if not (folder / "data.mdb").is_file():
                raise UserError(
                    f"LSUN is not in data.root={root} (no {folder / 'data.mdb'}); it is downloaded by hand, as\n"
                    f"http://dl.yf.io/lsun/scenes/{folder.name}.zip, and unpacked into {root}"
                )
        self._databases, self._form = folders, Form(resolution)
        self.spec = ImageSpec(resolution, channels=3, n_classes=0)

    def count(self, split: Split) -> int:
        with _database(self._databases[split]).begin() as look:
            return int(look.stat()["entries"])

    def load(self, split: Split) -> Images:
        with _database(self._databases[split]).begin() as look:
            keys = list(look.cursor().iternext(keys=True, values=False))
        return DatabaseImages(self._databases[split], keys, self._form)


class DatabaseImages(EncodedImages):
    """Picture files that are the values of a database."""

    def __init__(self, path: Path, keys: Sequence[bytes], form: Form):
        super().__init__(len(keys), form)
        self.path, self.keys = path, keys

    def content(self, index: int) -> bytes:
        with _database(self.path).begin() as look:
            found: bytes = look.get(self.keys[index])
        return found

    def title(self, index: int) -> str:
        return f"{self.path}: picture {self.keys[index]!r}"

    def sha256(self) -> str:
        """A hash of the pictures' names, which are hashes themselves, and of the form that they get: their bytes are many GB."""
        return hashlib.sha256(b"\n".join([str(self.form).encode(), *self.keys])).hexdigest()


@lru_cache(maxsize=4)  # in each process that reads pictures: a database may be opened once
def _database(path: Path) -> Any:
    try:
        import lmdb
    except ImportError:
        raise UserError("data=lsun reads LMDB databases; pip install 'sngan[lsun]' adds what that needs") from None
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False, max_readers=1)
    except lmdb.Error as error:
        raise UserError(f"{path} cannot be read as an LMDB database ({error}); download it again") from None
