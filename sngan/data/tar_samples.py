"""The samples of tar archives, found without unpacking: files of one name up to the first dot are the fields of a sample, as in WebDataset."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sngan.data.decoding import SUFFIXES
from sngan.data.labels import natural
from sngan.data.picture_files import MOST_MEMBER
from sngan.errors import UserError
from sngan.files import said
from sngan.processes import open_regular

LABEL = "cls"
"""The field that holds the label, in WebDataset's convention."""

MOST_LABEL = 1000
"""The most bytes of a label."""


@dataclass(frozen=True)
class Samples:
    """The samples of a split, in natural order of the archives and in the order of their files."""

    archives: list[Path]
    places: np.ndarray[Any, Any]
    """int64 [N, 3]: the number of the archive, the byte in it at which the picture begins, and how many bytes it has."""
    labels: np.ndarray[Any, Any] | None
    """[N], whole numbers if all are, else text."""


@dataclass
class Sample:
    """The pictures of a sample as (first byte, bytes), by field, and the text of its label."""

    pictures: dict[str, tuple[int, int]] = field(default_factory=dict)
    label: str | None = None


def find_samples(path: str, key: str, *, image: str | None, label: str | None) -> Samples:
    """What archives hold, from their headers; `UserError`, which names the key, for what is no sample.

    `path` is an archive, a folder of archives, or a pattern; `image` and `label` name fields, as in `sngan.data.webdataset`.
    """
    archives = _archives(path, key)
    places, labels = list[tuple[int, int, int]](), list[str | None]()
    for number, archive in enumerate(tqdm(archives, "listing archives", delay=2, leave=False, disable=None)):
        for name, sample in _samples(archive, key, label or LABEL):
            if sample.pictures or image is not None:
                places.append((number, *_picture(sample.pictures, image, f"{key}: {archive}: sample {name}")))
                labels.append(sample.label)
    if not places:
        raise UserError(f"{key}={path}: no pictures in {len(archives)} archives; accepted are {' '.join(SUFFIXES)}")
    n_without = labels.count(None)
    if n_without and (label is not None or n_without < len(labels)):
        raise UserError(
            f"{key}={path}: {n_without} of {len(labels)} samples have no label ({label or LABEL}); give all one, or none"
        )
    return Samples(archives, np.array(places, np.int64), None if n_without else _typed([text or "" for text in labels]))


def _archives(path: str, key: str) -> list[Path]:
    root = Path(path).expanduser()
    if root.is_file():
        return [root]
    found = root.glob("*.tar") if root.is_dir() else map(Path, glob(str(root)))
    archives = sorted((path for path in found if path.is_file()), key=lambda path: natural(str(path)))
    if not archives:
        raise UserError(f"{key}={path}: no tar archive there; give one, a folder of them, or a pattern such as shards/train-*.tar")
    return archives


def _samples(archive: Path, key: str, label: str) -> Iterator[tuple[str, Sample]]:
    """The samples of an archive by name. Only headers are read, and labels."""
    samples: dict[str, Sample] = {}
    try:
        with open_regular(archive, follow=True) as file, tarfile.open(fileobj=file, mode="r:") as members:
            for member in members:
                folder, _, name = member.name.rpartition("/")
                stem, _, kind = name.partition(".")
                if not member.isreg() or member.sparse is not None or not stem or not kind:
                    continue
                sample = samples.setdefault(f"{folder}/{stem}" if folder else stem, Sample())
                if kind == label:
                    content = members.extractfile(member)
                    assert content is not None
                    sample.label = content.read(MOST_LABEL).decode().strip()
                elif f".{kind.lower()}" in SUFFIXES or f".{kind.lower().rpartition('.')[2]}" in SUFFIXES:
                    if member.size > MOST_MEMBER:
                        raise UserError(f"{key}: {archive}: {member.name} is larger than a picture may be")
                    sample.pictures[kind] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError, UnicodeError, ValueError) as error:
        raise UserError(
            f"{key}: {archive} cannot be read as an uncompressed tar archive ({said(error)}); gunzip decompresses a .tar.gz"
        ) from None
    yield from samples.items()


def _picture(pictures: dict[str, tuple[int, int]], image: str | None, where: str) -> tuple[int, int]:
    if image is not None and image not in pictures:
        raise UserError(f"{where} has no picture {image}; its pictures: {', '.join(pictures) or 'none'} (data.image=…)")
    if image is None and len(pictures) > 1:
        raise UserError(
            f"{where} has several pictures; name one: data.image={next(iter(pictures))} (there are {', '.join(pictures)})"
        )
    return pictures[image] if image is not None else next(iter(pictures.values()))


def _typed(labels: list[str]) -> np.ndarray[Any, Any]:
    try:
        return np.array([int(text) for text in labels], np.int64)
    except (ValueError, OverflowError):
        return np.array(labels)
