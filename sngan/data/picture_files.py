"""Where picture files lie: in a folder, or in a zip archive, which is read in place."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from sngan.data.decoding import SUFFIXES
from sngan.data.numpy_files import DENSEST, FAULTS
from sngan.errors import UserError
from sngan.files import said
from sngan.processes import open_regular

SYSTEM = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db", "desktop.ini", "Icon\r"}
"""Folders and files that operating systems and network drives make; what they hold is nobody's picture."""

EARLIER = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What versions took that wrote no listing into run.json; they took it from the folders of `SYSTEM`, too, and knew no `LABELS`."""

LABELS = "dataset.json"
"""The labels beside pictures, in the layout of StyleGAN's data sets: {"labels": [[name, label], …]}."""

MOST_MEMBER = 2**28
"""The most bytes of a file in an archive."""


@dataclass(frozen=True)
class Found:
    """What a folder or archive holds, as sorted relative paths with '/'."""

    files: list[str]
    """The pictures."""
    others: Counter[str]
    """How many files of which kind are none."""
    earlier: list[str]
    """What earlier versions took."""
    labels: dict[str, Any] | None
    """Those of `LABELS`, by the pictures' paths; None where there are none."""


def find_pictures(root: Path, key: str) -> Found:
    """The files below a folder or in an archive; `UserError`, which names the key, if there are no pictures."""
    files, others, earlier = [], Counter[str](), []
    has_labels = False
    for path in _members(root, key) if root.is_file() else _below(root, key):
        *folders, name = path.split("/")
        if name.startswith(".") or any(folder.startswith(".") for folder in folders):
            continue
        if name.lower().endswith(EARLIER):
            earlier.append(path)
        if not SYSTEM.isdisjoint([*folders, name]):
            continue
        if name.lower().endswith(SUFFIXES):
            files.append(path)
        elif path == LABELS:
            has_labels = True
        else:
            others[PurePosixPath(name).suffix.lower() or "without a suffix"] += 1
    if not files:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(others.items()))
        raise UserError(
            f"{key}={root}: no pictures there{f' but {kinds}' if kinds else ''}; accepted are {' '.join(SUFFIXES)}, at any depth"
        )
    return Found(sorted(files), others, sorted(earlier), _labels(root, key) if has_labels else None)


def open_in(root: Path, name: str) -> IO[bytes]:
    """A file below a folder, which may be a link to one, or in an archive. Raises nearly any exception for an archive that is not whole."""
    if root.is_dir():
        return open_regular(root / name, follow=True)
    archive = _archive(root, root.stat().st_mtime_ns)
    info = archive.getinfo(name)
    if info.file_size > min(MOST_MEMBER, info.compress_size * DENSEST):
        raise ValueError("it is larger than a picture may be")
    return io.BytesIO(archive.read(info))


def sha256_in(root: Path, name: str) -> str:
    """The sha256 of such a file, in hexadecimal."""
    with open_in(root, name) as file:
        return hashlib.sha256(file.read()).hexdigest()


@lru_cache(maxsize=4)  # in each process that reads pictures: opening reads the names of all
def _archive(path: Path, _changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _members(path: Path, key: str) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except FAULTS as error:
        raise UserError(f"{key}={path} is neither a folder nor a zip archive ({said(error)})") from None


def _below(root: Path, key: str) -> Iterator[str]:
    if not root.is_dir():
        raise UserError(f"{key}={root}: no such folder or zip archive")

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"{key}={root}: {error.filename} cannot be listed: {error.strerror}")

    top = str(root)
    for folder, names in _folders(top, refuse):
        below = "" if folder == top else Path(folder).relative_to(root).as_posix() + "/"
        yield from (below + name for name in names)


def _folders(top: str, refuse: Callable[[OSError], NoReturn]) -> Iterator[tuple[str, list[str]]]:
    """Each folder at and below the top with the names of its files: first those without a link, then those that links lead to."""
    seen, to_come = set(), deque([top])
    while to_come:
        for folder, subfolders, names in os.walk(to_come.popleft(), onerror=refuse):
            found = os.stat(folder)
            if (found.st_dev, found.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((found.st_dev, found.st_ino))
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            to_come.extend(path for name in subfolders if os.path.islink(path := os.path.join(folder, name)))
            yield folder, names


def _labels(root: Path, key: str) -> dict[str, Any] | None:
    """The labels of `LABELS`, which may be null, as pairs or by name."""
    try:
        with open_in(root, LABELS) as file:
            found = json.loads(file.read(MOST_MEMBER))["labels"]
        return (
            None if found is None else {str(name): label for name, label in (found.items() if isinstance(found, dict) else found)}
        )
    except (*FAULTS, KeyError, RecursionError) as error:
        raise UserError(
            f'{key}={root}: {LABELS} cannot be read ({said(error)}); it is to hold {{"labels": [[name, label], …]}}'
        ) from None
