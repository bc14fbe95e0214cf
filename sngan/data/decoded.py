"""Pictures as they are decoded, kept in a file of the user's cache folder that is mapped into memory: later runs decode nothing.

Worker processes share its pages. It holds a row for each picture: its pixels, then their CRC-32. It is named by a hash of everything that
determines them, written under another name and renamed. A row whose checksum is wrong is decoded anew from its picture, so that a damaged
file costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sngan.data.images import Images
from sngan.processes import cache_folder, open_regular

log = logging.getLogger(__name__)

Cache = Literal["auto"] | bool
"""Whether decoded pictures are kept; auto: from `LEAST` pictures on, if they take at most half of what is free on the disk."""

LEAST = 1000
"""Fewer are decoded in a second or two."""

STALE_S = 86_400
"""Seconds after which a file that nobody has gone on writing is that of a process that was killed."""

CHECK = 4
"""Bytes of a checksum."""


@dataclass(frozen=True)
class Store:
    """A file of n rows, each an image uint8 of a shape [C, H, W] and its checksum."""

    key: str
    """A hash, in hexadecimal, of what the rows are made from."""
    n: int
    shape: tuple[int, int, int]

    @property
    def path(self) -> Path:
        return cache_folder() / f"pictures-{self.key[:32]}.pixels"

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) + CHECK

    def checksum(self, pixels: bytes | memoryview) -> bytes:
        """Of a row's pixels; rows of another file have others."""
        return zlib.crc32(pixels, int(self.key[:8], 16)).to_bytes(CHECK, "little")

    def rows(self) -> np.ndarray[Any, Any]:
        """The file, uint8 [n, row], mapped. Raises `OSError` or `ValueError` unless it is there in its whole length."""
        with open_regular(self.path) as file:
            if os.fstat(file.fileno()).st_size != self.n * self.row:
                raise ValueError("it is of another length")
            return np.memmap(file, np.uint8, "r", shape=(self.n, self.row))

    def is_there(self) -> bool:
        """Whether the file is there, in its whole length."""
        try:
            self.rows()
        except (OSError, ValueError):
            return False
        return True

    def begin(self, cache: Cache) -> Path | None:
        """An empty file for `write` and `finish`; None, unless `cache` is auto with a warning, where the disk has no room or cannot be written."""
        size, folder = self.n * self.row, self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(".partial-pictures-*"):
                if time.time() - old.stat().st_mtime > STALE_S:
                    old.unlink()
            free = shutil.disk_usage(folder).free
            if size > (free if cache is True else free / 2):
                raise OSError(f"{size / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free")
            descriptor, partial = tempfile.mkstemp(prefix=".partial-pictures-", dir=folder)
            os.close(descriptor)
            return Path(partial)
        except OSError as error:
            self.warn(error, cache)
            return None

    def write(self, partial: Path, first: int, images: Iterable[Tensor]) -> None:
        """Writes rows from the first on. Raises `OSError`."""
        content = bytearray()
        for image in images:
            pixels = image.contiguous().numpy().tobytes()
            content += pixels + self.checksum(pixels)
        with partial.open("r+b") as file:
            file.seek(first * self.row)
            file.write(content)

    def finish(self, partial: Path) -> None:
        """Gives the file its name. Raises `OSError`."""
        os.replace(partial, self.path)

    def warn(self, error: OSError, cache: Cache) -> None:
        """Says why nothing is kept, where that was asked for."""
        say = log.warning if cache is True else log.info
        say(f"decoded pictures cannot be kept in {self.path.parent} ({error.strerror or error}), and will be decoded again")


class Decoded(Images):
    """Pictures whose pixels are in a store; the pictures themselves, by whose files they are known, are read where a row is damaged."""

    def __init__(self, pictures: Images, labels: Sequence[int], store: Store):
        self.pictures, self.labels, self.store = pictures, labels, store
        self._rows: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self._rows is None:
            with suppress(OSError, ValueError):  # it may have been deleted since
                self._rows = self.store.rows()
        if self._rows is not None:
            row = self._rows[index].tobytes()
            pixels, check = row[:-CHECK], row[-CHECK:]
            if self.store.checksum(pixels) == check:
                return torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(self.store.shape), self.labels[index]
        return self.pictures[index]

    def sha256(self) -> str:
        return self.pictures.sha256()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None}  # each process maps the file itself


def store_of(root: Path, files: Sequence[str], form: Any, shape: tuple[int, int, int]) -> Store:
    """The store of pictures below a folder or in an archive, by their names, sizes and times of change, and by the form that they get.

    Raises `OSError` for a file that is not there.
    """
    digest = hashlib.sha256(f"1\n{root.resolve()}\n{form}".encode("utf-8", "surrogateescape"))
    for place in [root / file for file in files] if root.is_dir() else [root]:
        found = place.stat()
        digest.update(f"\n{found.st_size} {found.st_mtime_ns}".encode())
    digest.update("\n".join(["", *files]).encode("utf-8", "surrogateescape"))
    return Store(digest.hexdigest(), len(files), shape)
