"""NumPy's files: archives of arrays (`.npz`), and single arrays (`.npy`)."""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from sngan.errors import UserError
from sngan.files import said
from sngan.processes import memory, open_regular

FAULTS = (
    OSError, EOFError, ValueError, RuntimeError, MemoryError, OverflowError, TokenError, SyntaxError, TypeError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
"""What zipfile and NumPy raise on bytes that they do not expect."""

DENSEST = 1100
"""The most bytes that one of a compressed file can stand for: 1032 by deflate."""

MOST_BYTES = 2**36
"""The most bytes of an array where the size of the memory is not known."""

SINGLE = "arr_0"
"""The name of the array of a `.npy` file; `numpy.savez` calls its first array so."""


class NumpyFile:
    """The arrays in an `.npz` or `.npy` file, each read when it is asked for. A file that cannot be read is a `UserError`.

    Python objects are never unpickled: a stranger's file cannot run code.
    """

    def __init__(self, path: Path):
        self._path = path
        if not path.is_file():
            raise UserError(f"{self}: no such file; give an .npz or .npy file of images [N, H, W, C]")
        self._single = False
        with self._reading(), open_regular(path, follow=True) as file:
            self._single = file.read(6) == b"\x93NUMPY"
        self.keys = [SINGLE]
        if not self._single:
            with self._reading(), zipfile.ZipFile(path) as archive:
                self.keys = sorted(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))

    def __str__(self) -> str:
        return f"data.path={self._path}"

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of an array, without its values."""
        with self._member(key) as (member, _, _):
            first = np.lib.format.read_magic(member) == (1, 0)
            # later versions differ in the length of the header; version 3 is for structured arrays
            shape, _, dtype = (np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0)(member)
        return shape, dtype

    def read(self, key: str) -> np.ndarray[Any, Any]:
        """An array; a progress bar shows past two seconds."""
        shape, dtype = self.header(key)
        with self._member(key) as (member, size, packed):
            needed = math.prod(shape) * dtype.itemsize
            if not needed <= size <= packed * DENSEST:
                raise ValueError(f"array {key} is shorter than it says")
            if needed > (memory() or MOST_BYTES):
                raise UserError(
                    f"{self}: array {key} takes {needed / 1e9:.1f} GB, more than this machine has; give a folder of pictures"
                )
            if self._single:
                return np.lib.format.read_array(member, allow_pickle=False)
            with tqdm.wrapattr(member, "read", total=size, desc=f"reading {key}", delay=2, disable=None) as watched:
                return np.lib.format.read_array(watched, allow_pickle=False)

    @contextmanager
    def _member(self, key: str) -> Iterator[tuple[IO[bytes], int, int]]:
        """An array's bytes, how many they are, and how many the file takes for them."""
        with self._reading():
            if self._single:
                with open_regular(self._path, follow=True) as file:
                    size = self._path.stat().st_size
                    yield file, size, size
            else:
                with zipfile.ZipFile(self._path) as archive, archive.open(f"{key}.npy") as member:
                    info = archive.getinfo(f"{key}.npy")
                    yield member, info.file_size, info.compress_size

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            kind, writer = (".npy", "save") if self._single else (".npz", "savez")
            raise UserError(
                f"{self} cannot be read as an {kind} file ({said(error)}); is it whole? numpy.{writer} writes one"
            ) from None
