"""A folder of one's own pictures."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from sngan.config import Resolution
from sngan.data.arrays import WHITES, Range
from sngan.data.decoded import LEAST, Cache, Decoded, Store, store_of
from sngan.data.decoding import Channels, Fit, Form, as_tensor, decode, fitted, in_form, is_grey, read_picture
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.data.labels import Classes, classes_of, natural, plain
from sngan.data.picture_files import LABELS, Found, find_pictures, open_in, sha256_in
from sngan.data.reading import CHUNK, live_as_long_as_the_run, without_main, worker_context
from sngan.errors import UserError
from sngan.launch import is_first
from sngan.registry import register

log = logging.getLogger(__name__)

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev"}
"""Names of sub-folders that are no classes."""

MANY = 10_000
"""From this many pictures on, they are checked by processes, which take a second to start."""


@register("data", "image_folder")
class ImageFolder(Source):
    """The pictures below `path`, a folder or a zip archive, at any depth; those below `test_path` are the test split.

    Labels are those of a `dataset.json` at the top, in the layout of StyleGAN's data sets. Without it, when all pictures lie in sub-folders, and
    in more than one, the names of these in natural order are the classes 0, 1, …; otherwise there are no labels. Hidden files and folders,
    and those that systems make, are passed over. Linked folders are followed, but no folder counts twice, so that links may lead in a circle;
    the folder itself comes before a link to it. The order is that of the sorted paths.
    They become images of `channels` at `resolution`, as `fit` says; `range` are black and white of pictures of 16 bits or more, null for all 16.
    `cache` keeps them decoded between runs (`sngan.data.decoded`), but where some cannot be read.
    Constructing lists the files, and with `channels=auto` looks for the first picture in colour; loading decodes each of them once, because
    only that shows whether it is whole, and says in a line what was found and left out.
    """

    def __init__(
        self,
        *,
        path: Path,
        test_path: Path | None,
        resolution: Resolution,
        channels: Channels,
        fit: Fit,
        range: Range | None,
        on_error: Literal["stop", "skip"],
        cache: Cache,
    ):
        root = path.expanduser()
        found = find_pictures(root, "data.path")
        folders = sorted(_top_folders(found.files), key=natural)
        if found.labels is None and len(folders) > 1 and SPLITS.issuperset(name.lower() for name in folders):
            raise UserError(
                f"data.path={path}: its sub-folders {', '.join(folders)} are splits, not classes; give one of them, as "
                f"data.path={path / folders[0]} data.test_path={path / folders[-1]}, or rename the folders"
            )
        self._classes: Classes | None = Classes(tuple(folders)) if len(folders) > 1 else None
        if found.labels is not None:
            labels, n_classes = _of_file(found, f"data.path={path}: {LABELS}")
            self._classes = classes_of(labels, n_classes, renumber=True)
        self.name = root.resolve().stem if root.is_file() else root.resolve().name
        form = Form(resolution, _channels(root, found.files) if channels == "auto" else channels, fit, range)
        self.spec = ImageSpec(resolution, form.channels, len(self._classes.values) if self._classes else 0)
        self._on_error, self._cache = on_error, cache
        self._found = {"train": found}
        self._pictures: dict[Split, Pictures] = {"train": self._as_pictures(root, found, form, "data.path")}
        if test_path is not None:
            test_root = test_path.expanduser()
            if test_root.resolve().is_relative_to(root.resolve()):
                raise UserError(
                    f"data.test_path={test_path} lies in data.path={path}: its pictures would be trained on; keep them apart"
                )
            self._found["test"] = find_pictures(test_root, "data.test_path")
            self._pictures["test"] = self._as_pictures(test_root, self._found["test"], form, "data.test_path")
        self.listing, self.unlike_earlier = self._listing(), self._unlike_earlier()

    def _as_pictures(self, root: Path, found: Found, form: Form, key: str) -> Pictures:
        if self._classes is None:
            return Pictures(root, found.files, [0] * len(found.files), form)
        if found.labels is not None:
            labels, _ = _of_file(found, f"{key}={root}: {LABELS}")
            return Pictures(root, found.files, self._classes.numbers(labels, f"{key}={root}: label").tolist(), form)
        folders = np.array([file.partition("/")[0] for file in found.files])
        return Pictures(root, found.files, self._classes.numbers(folders, f"{key}={root}: sub-folder").tolist(), form)

    def count(self, split: Split) -> int:
        return len(self._split(split))

    def _split(self, split: Split) -> Pictures:
        if split not in self._pictures:
            raise UserError("data=image_folder has no test split; give one with data.test_path=…, or protocol.reference=train")
        return self._pictures[split]

    def _listing(self) -> str:
        digest = hashlib.sha256()
        for split, pictures in self._pictures.items():
            listed = (f"{file} {label}" for file, label in zip(pictures.files, pictures.labels, strict=True))
            digest.update("\n".join([split, *listed, *self._names(), ""]).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _names(self) -> list[str]:
        return [str(value) for value in self._classes.values] if self._classes else []

    def _unlike_earlier(self) -> str | None:
        now, then = (
            [file for found in self._found.values() for file in files(found)]
            for files in (attrgetter("files"), attrgetter("earlier"))
        )
        if now != then:
            return f"takes other files: {len(now)} pictures, and {len(then)} then"
        if any(found.labels is not None for found in self._found.values()):
            return f"reads {LABELS}"
        names = self._names()
        if names != sorted(names):
            return f"numbers the classes {', '.join(names[:3])}, …, and then {', '.join(sorted(names)[:3])}, …"
        return None

    def load(self, split: Split) -> Images:
        pictures = self._split(split)
        if is_first():
            log.info(self._said(split))
        if self._cache is False or (self._cache == "auto" and len(pictures) < LEAST):
            return checked(pictures, self._on_error)
        return kept(pictures, self._on_error, self._cache)

    def _said(self, split: Split) -> str:
        pictures, found = self._pictures[split], self._found[split]
        said = f"{pictures.root}: {len(pictures)} {split} pictures as {self.spec.channels} x {self.spec.size} px"
        loose = [file for file in pictures.files if "/" not in file]
        folders = {file.partition("/")[0] for file in pictures.files if "/" in file}
        if self._classes:
            said += f"; {self._classes.said}" + (f" ({LABELS})" if found.labels is not None else "")
        elif loose and len(folders) > 1:
            said += f"; no classes, because pictures lie beside the sub-folders: {len(loose)}, as {loose[0]}"
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(found.others.items()))
        return said + (f"; left out: {kinds}" if kinds else "")


def kept(pictures: Pictures, on_error: Literal["stop", "skip"], cache: Cache) -> Images:
    """The pictures as they are decoded, once; those that can be read, as `checked` gives them, where they cannot be kept."""
    try:
        store = store_of(pictures.root, pictures.files, pictures.form, pictures.form.shape)
    except OSError:  # a file that is not there, which reading names
        return checked(pictures, on_error)
    decoded = Decoded(pictures, pictures.labels, store)
    if store.is_there():
        return decoded
    partial = store.begin(cache)
    if partial is None:
        return checked(pictures, on_error)
    try:
        readable = checked(pictures, on_error, Keep(store, partial))
        if len(readable) < len(pictures):
            return readable
        store.finish(partial)
    except OSError as error:
        store.warn(error, cache)
        return checked(pictures, on_error)
    finally:
        partial.unlink(missing_ok=True)
    if is_first():
        log.info(f"decoded pictures are kept in {store.path} ({store.n * store.row / 1e6:.0f} MB; data.cache=false keeps none)")
    return decoded


class Keep(NamedTuple):
    """Where pictures that are checked are written as they are decoded."""

    store: Store
    partial: Path


def checked(pictures: Pictures, on_error: Literal["stop", "skip"], keep: Keep | None = None) -> Pictures:
    """The pictures that can be read; with `stop`, and if none can, `UserError` that names those that cannot.

    With `keep` those are also written there; `OSError` if that fails.
    """
    errors, largest = _look(pictures, keep)
    if errors:
        names = ", ".join(pictures.files[index] for index in list(errors)[:3]) + (", …" if len(errors) > 3 else "")
        found = f"{len(errors)} of {len(pictures)} pictures in {pictures.root} cannot be read: {names}"
        if on_error == "stop" or len(errors) == len(pictures):
            first = next(iter(errors.values()))
            raise UserError(f"{found} (the first: {first})\nmend or remove them, or leave them out with data.on_error=skip")
        log.warning("%s; they are left out (data.on_error=skip)", found)
    white = next(white for white in WHITES if largest <= white)
    if largest > 0 and white < WHITES[-1] and pictures.form.deep is None:
        raise UserError(
            f"pictures of 16 bits in {pictures.root} hold no value above {largest}, and would be nearly black;\n"
            f"give the values of black and white: data.range=[0,{white}], or data.range=[0,{WHITES[-1]}] if they are so dark"
        )
    return pictures.without(errors) if errors else pictures


class Pictures(Images):
    """Picture files below a folder, or in a zip archive, decoded when they are asked for."""

    def __init__(self, root: Path, files: Sequence[str], labels: Sequence[int], form: Form):
        self.root, self.files, self.labels, self.form = root, files, labels, form

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Raises `UserError` that names the file when it cannot be decoded."""
        name = self.files[index]
        with _naming(self.root / name), open_in(self.root, name) as file:
            return read_picture(file, self.form), self.labels[index]

    def sha256(self) -> str:
        """A hash of the files' names and bytes, and of the form that they get."""
        digest = hashlib.sha256(str(self.form).encode())
        for name in tqdm(self.files, desc="hashing pictures", unit="file", delay=2, leave=False, disable=None):
            digest.update(f"\n{name} {sha256_in(self.root, name)}".encode())
        return digest.hexdigest()

    def without(self, indices: Collection[int]) -> Pictures:
        kept = [i for i in range(len(self)) if i not in indices]
        return Pictures(self.root, [self.files[i] for i in kept], [self.labels[i] for i in kept], self.form)


def _channels(root: Path, files: Sequence[str]) -> Literal[1, 3]:
    """1 if all pictures are grey, else 3; a picture that cannot be opened, which loading names, says nothing."""
    grey = False
    for file in tqdm(files, "looking for colour", delay=2, leave=False, disable=None):
        with suppress(Exception), open_in(root, file) as opened:  # decoders raise almost anything on bytes that they do not expect
            if not is_grey(opened):
                return 3
            grey = True
    return 1 if grey else 3


def _top_folders(files: Sequence[str]) -> set[str]:
    """The first-level folders, if no file lies outside them."""
    return set() if any("/" not in file for file in files) else {file.partition("/")[0] for file in files}


def _of_file(found: Found, where: str) -> tuple[np.ndarray[Any, Any], int | None]:
    """The labels of `LABELS`, a value for each picture in order, as `labels.plain` gives them."""
    assert found.labels is not None
    without = next((file for file in found.files if file not in found.labels), None)
    if without is not None:
        raise UserError(f"{where} has no label of {without}; give all pictures labels, or none")
    values = [found.labels[file] for file in found.files]
    try:
        return plain(np.array(values), len(values), where)
    except (ValueError, OverflowError, TypeError):
        raise UserError(f"{where} has labels of several kinds; they are whole numbers or text") from None


def _look(pictures: Pictures, keep: Keep | None) -> tuple[dict[int, str], int]:
    """Which pictures cannot be read, and why; and the largest value of those of 16 bits, 0 where there are none."""
    n, pool = len(pictures), _pool(len(pictures))
    starts = range(0, n, CHUNK)
    chunks = [pictures.files[start : start + CHUNK] for start in starts]
    errors, largest = {}, 0
    try:
        with without_main():
            found = chain.from_iterable(pool.map(partial(_faults, pictures.root, pictures.form, keep), starts, chunks))
        for index, fault in enumerate(tqdm(found, total=n, desc="checking pictures", unit="image", delay=2, disable=None)):
            if isinstance(fault, str):
                errors[index] = fault
            else:
                largest = max(largest, fault)
        return errors, largest
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(n: int) -> Executor:
    """Threads; processes for many pictures, because decoding a small one is mostly Python code, which threads cannot run in parallel."""
    cores = min(32, os.cpu_count() or 1)
    if n < MANY:
        return ThreadPoolExecutor(cores)
    return ProcessPoolExecutor(cores, mp_context=worker_context(), initializer=live_as_long_as_the_run)


def _faults(root: Path, form: Form, keep: Keep | None, start: int, files: Sequence[str]) -> list[str | int]:
    """Why each file cannot be read, or its largest value if it is of 16 bits, else 0. The first is picture `start` of all.

    Unless they are kept nothing is resized, which for a small picture is a third of the work.
    """
    faults: list[str | int] = []
    images: list[Tensor] = []
    for file in files:
        try:
            with _naming(root / file), open_in(root, file) as opened:
                whole = decode(opened, form)
                image = in_form(whole, form)
                if keep:
                    images.append(as_tensor(fitted(image, form)))
            faults.append(int(np.asarray(whole).max()) if whole.mode.startswith("I;16") else 0)
        except UserError as error:
            faults.append(str(error))
    if keep and len(images) == len(files):
        keep.store.write(keep.partial, start, images)
    return faults


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Raises `UserError` that names the file for whatever decoding it raises."""
    try:
        yield
    except Exception as error:  # decoders raise almost anything on bytes that they do not expect
        reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
        raise UserError(f"{path} cannot be read: {reason}") from error
