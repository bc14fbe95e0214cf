"""A folder of one's own pictures."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, NoReturn

from PIL import UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from sngan.config import Resolution
from sngan.data.decoding import SUFFIXES, decode, read_picture
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.data.reading import CHUNK, live_as_long_as_the_run, without_main, worker_context
from sngan.errors import UserError
from sngan.provenance import sha256_of
from sngan.registry import register

log = logging.getLogger(__name__)

MANY = 10_000
"""From this many pictures on, they are checked by processes, which take a second to start."""


@register("data", "image_folder")
class ImageFolder(Source):
    """The pictures below `path`, at any depth, as RGB images; those below `test_path` are the test split.

    When all of them lie in sub-folders, and in more than one, the sorted names of these are the classes 0, 1, …; otherwise there
    are no labels. Hidden files and folders are passed over. Linked folders are followed, but no folder counts twice, so that links may
    lead in a circle; the folder itself comes before a link to it. The order is that of the sorted paths.
    Constructing lists the files; loading decodes each of them once, because only that shows whether it is whole.
    """

    def __init__(self, *, path: Path, test_path: Path | None, resolution: Resolution, on_error: Literal["stop", "skip"]):
        root = path.expanduser()
        files = picture_files(root, "data.path")
        folders = sorted(_top_folders(files))
        classes = folders if len(folders) > 1 else []
        self.name = root.resolve().name
        self.spec = ImageSpec(resolution=resolution, channels=3, n_classes=len(classes))
        self._on_error = on_error
        self._pictures: dict[Split, Pictures] = {"train": Pictures(root, files, _labels(files, classes), resolution)}
        if test_path is not None:
            test_root = test_path.expanduser()
            if test_root.resolve().is_relative_to(root.resolve()):
                raise UserError(
                    f"data.test_path={test_path} lies in data.path={path}: its pictures would be trained on; keep them apart"
                )
            test_files = picture_files(test_root, "data.test_path")
            unknown = _top_folders(test_files) - set(classes)
            if classes and unknown:
                raise UserError(
                    f"data.test_path={test_path}: sub-folder {min(unknown)} is not among the classes in data.path={path}"
                )
            self._pictures["test"] = Pictures(test_root, test_files, _labels(test_files, classes), resolution)

    def count(self, split: Split) -> int:
        return len(self._split(split))

    def _split(self, split: Split) -> Pictures:
        if split not in self._pictures:
            raise UserError("data=image_folder has no test split; give one with data.test_path=…, or protocol.reference=train")
        return self._pictures[split]

    def load(self, split: Split) -> Images:
        pictures = self._split(split)
        errors = _errors(pictures)
        if not errors:
            return pictures
        names = ", ".join(pictures.files[index] for index in list(errors)[:3]) + (", …" if len(errors) > 3 else "")
        found = f"{len(errors)} of {len(pictures)} pictures in {pictures.root} cannot be read: {names}"
        if self._on_error == "stop" or len(errors) == len(pictures):
            first = next(iter(errors.values()))
            raise UserError(f"{found} (the first: {first})\nmend or remove them, or leave them out with data.on_error=skip")
        log.warning("%s; they are left out (data.on_error=skip)", found)
        return pictures.without(errors)


class Pictures(Images):
    """Picture files below `root`, decoded when they are asked for."""

    def __init__(self, root: Path, files: Sequence[str], labels: Sequence[int], resolution: int):
        self.root, self.files, self.labels, self.resolution = root, files, labels, resolution

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Raises `UserError` that names the file when it cannot be decoded."""
        path = self.root / self.files[index]
        with _naming(path):
            return read_picture(path, self.resolution), self.labels[index]

    def sha256(self) -> str:
        """A hash of the files' names and bytes, and of the size to which they are resized."""
        digest = hashlib.sha256(str(self.resolution).encode())
        for name in tqdm(self.files, desc="hashing pictures", unit="file", delay=2, leave=False, disable=None):
            digest.update(f"\n{name} {sha256_of(self.root / name)}".encode())
        return digest.hexdigest()

    def without(self, indices: Collection[int]) -> Pictures:
        kept = [i for i in range(len(self)) if i not in indices]
        return Pictures(self.root, [self.files[i] for i in kept], [self.labels[i] for i in kept], self.resolution)


def picture_files(root: Path, key: str) -> list[str]:
    """The picture files below the folder, as sorted relative paths with '/'."""
    if not root.is_dir():
        raise UserError(f"{key}={root}: no such folder")

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"{key}={root}: {error.filename} cannot be listed: {error.strerror}")

    files, top = [], str(root)
    for folder, names in _folders(top, refuse):
        below = "" if folder == top else Path(folder).relative_to(root).as_posix() + "/"
        files += [below + name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    if not files:
        raise UserError(f"{key}={root}: no pictures there; accepted are {' '.join(SUFFIXES)}, at any depth")
    return sorted(files)


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


def _top_folders(files: Sequence[str]) -> set[str]:
    """The first-level folders, if no file lies outside them."""
    return set() if any("/" not in file for file in files) else {file.partition("/")[0] for file in files}


def _labels(files: Sequence[str], classes: Sequence[str]) -> list[int]:
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers.get(file.partition("/")[0], 0) for file in files]


def _errors(pictures: Pictures) -> dict[int, str]:
    """Which pictures cannot be read, and why."""
    n, pool = len(pictures), _pool(len(pictures))
    chunks = [pictures.files[start : start + CHUNK] for start in range(0, n, CHUNK)]
    try:
        with without_main():
            found = chain.from_iterable(pool.map(partial(_faults, pictures.root, pictures.resolution), chunks))
        faults = enumerate(tqdm(found, total=n, desc="checking pictures", unit="image", delay=2, disable=None))
        return {index: fault for index, fault in faults if fault}
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(n: int) -> Executor:
    """Threads; processes for many pictures, because decoding a small one is mostly Python code, which threads cannot run in parallel."""
    cores = min(32, os.cpu_count() or 1)
    if n < MANY:
        return ThreadPoolExecutor(cores)
    return ProcessPoolExecutor(cores, mp_context=worker_context(), initializer=live_as_long_as_the_run)


def _faults(root: Path, resolution: int, files: Sequence[str]) -> list[str]:
    """Why each file cannot be read, '' if it can. Nothing is resized, which for a small picture is a third of the work."""
    faults = []
    for file in files:
        try:
            with _naming(root / file):
                decode(root / file, resolution)
            faults.append("")
        except UserError as error:
            faults.append(str(error))
    return faults


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raises `UserError` that names the file for whatever decoding it raises."""
    try:
        yield
    except Exception as error:  # decoders raise almost anything on bytes that they do not expect
        reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
        raise UserError(f"{path} cannot be read: {reason}") from error
