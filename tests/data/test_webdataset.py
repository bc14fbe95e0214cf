"""Tar archives that the standard library has written, in the layout of WebDataset."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sngan import UserError
from sngan.__main__ import main
from sngan.data.images import ImageSpec
from sngan.data.reading import read_all
from sngan.data.webdataset import WebDataset
from sngan.files import read_lines


def picture(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (20, 16), (level, level, level)).save(content, "PNG")
    return content.getvalue()


def archive(path: str, files: dict[str, bytes], *, mode: str = "w") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def source(path: str = "shards", **options: Any) -> WebDataset:
    given = {"test_path": None, "image": None, "label": None, "resolution": 16, "channels": 3, "fit": "crop", "range": None}
    return WebDataset(path=path, **(given | options))


def levels(images: WebDataset, split: str = "train", *, workers: int = 0) -> tuple[list[int], list[int]]:
    """The level, and the label, of each image."""
    read = read_all(images.load(split), images.spec, workers=workers)  # type: ignore[arg-type]
    return read.pixels[:, 0, 8, 8].tolist(), read.labels.tolist()


@pytest.fixture
def shards() -> None:
    """Five pictures in two archives, of labels 3, 7 and 10; the folders are parts of the names of samples."""
    archive("shards/2.tar", {"a/1.png": picture(10), "a/1.cls": b"7\n", "b/1.cls": b"3", "b/1.png": picture(20), "notes": b"none"})
    archive(
        "shards/10.tar", {f"{i}.{kind}": content for i in (30, 40, 50) for kind, content in (("png", picture(i)), ("cls", b"10"))}
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_come_in_natural_order_of_the_archives_with_their_classes(shards: None, workers: int) -> None:
    found = source()
    assert (found.count("train"), found.spec) == (5, ImageSpec(16, 3, 3))
    assert levels(found, workers=workers) == ([10, 20, 30, 40, 50], [1, 0, 2, 2, 2])


def test_a_pattern_or_one_archive_is_a_path_too(shards: None) -> None:
    archive("test/1.tar", {"x.png": picture(60), "x.cls": b"10"})
    found = source("shards/1*.tar", test_path="test/1.tar")
    assert levels(found) == ([30, 40, 50], [0, 0, 0])
    assert levels(found, "test") == ([60], [0])
    with pytest.raises(UserError, match=r"data=webdataset: test label 7 is no class"):
        source("shards/10.tar", test_path="shards/2.tar")


def test_fields_can_be_named() -> None:
    archive(
        "shards/1.tar",
        {
            "1.jpg": picture(1),
            "1.mask.png": picture(2),
            "1.txt": b"a cat",
            "2.jpg": picture(3),
            "2.mask.png": picture(4),
            "2.txt": b"a dog",
        },
    )
    with pytest.raises(UserError, match=r"sample 1 has several pictures; name one: data\.image=jpg \(there are jpg, mask\.png\)"):
        source()
    assert levels(source(image="jpg")) == ([1, 3], [0, 0])
    assert levels(source(image="mask.png", label="txt")) == ([2, 4], [0, 1])
    with pytest.raises(UserError, match=r"sample 1 has no picture png; its pictures: jpg, mask\.png"):
        source(image="png")


def test_the_listing_changes_with_the_order_and_the_labels(shards: None) -> None:
    listings = {source().listing}
    for content in (b"8", b"x"):
        archive("shards/2.tar", {"a/1.png": picture(10), "a/1.cls": content, "b/1.png": picture(20), "b/1.cls": b"3"})
        listings.add(source().listing)
    Path("shards/2.tar").rename("shards/20.tar")
    assert len(listings | {source().listing}) == 4


def test_the_hash_is_of_the_pictures(shards: None) -> None:
    before = source().load("train").sha256()
    assert before == source().load("train").sha256() != source(resolution=8).load("train").sha256()
    archive("shards/2.tar", {"a/1.png": picture(11), "a/1.cls": b"7", "b/1.png": picture(20), "b/1.cls": b"3"})
    assert source().load("train").sha256() != before


BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "no pictures": ({"1.txt": b"a"}, r"data\.path=shards: no pictures in 1 archives"),
    "some labels": ({"1.png": picture(1), "2.png": picture(2), "2.cls": b"1"}, r"1 of 2 samples have no label \(cls\)"),
    "a label below 0": ({"1.png": picture(1), "1.cls": b"-1"}, "label -1; labels are class numbers"),
    "a label of bytes": ({"1.png": picture(1), "1.cls": b"\xff\xfe"}, r"1\.tar cannot be read as an uncompressed tar archive"),
    "a picture that is none": ({"1.png": b"no picture"}, r"1\.tar: the picture at byte 512 cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_sample_is_told_in_two_lines(kind: str) -> None:
    files, said = BAD[kind]
    archive("shards/1.tar", files)
    with pytest.raises(UserError, match=said) as told:
        levels(source())
    assert len(str(told.value).splitlines()) <= 2


def test_other_archives_are_told() -> None:
    with pytest.raises(UserError, match=r"data\.path=nowhere: no tar archive there"):
        source("nowhere")
    archive("packed.tar", {"1.png": picture(1)}, mode="w:gz")
    with pytest.raises(UserError, match=r"packed\.tar cannot be read as an uncompressed tar archive .*gunzip"):
        source("packed.tar")
    Path("packed.tar").write_bytes(gzip.decompress(Path("packed.tar").read_bytes())[:600])
    with pytest.raises(UserError, match=r"packed\.tar cannot be read"):
        levels(source("packed.tar"))
    archive("shards/1.tar", {"1.png": picture(1)})
    with pytest.raises(UserError, match=r"data\.test_path=shards/1\.tar: .*1\.tar is in data\.path, too"):
        source(test_path="shards/1.tar")
    with pytest.raises(UserError, match="no test split"):
        source().count("test")


def test_a_run_of_streamed_archives_is_resumed_exactly() -> None:
    archive(
        "shards/1.tar",
        {f"{i}.{kind}": content for i in range(12) for kind, content in (("png", picture(20 * i)), ("cls", b"%d" % (i % 2)))},
    )
    words = [
        "data=webdataset", "data.path=shards", "data.resolution=32", "data.resident_mb=0", "data.workers=1", "conditional=true",
        "batch=4", "g_batch=4", "d_steps=2", "generator.widths=[8,4,4,4]", "generator.z_dim=8", "discriminator.width=4",
        "protocol=none", "protocol@quick=none", "log_every=1", "sample_every=0", "save_every=2", "evaluate_every=0",
        "ema.recalibrate=0", "optimizer.decay=none", "device=cpu",
    ]  # fmt: skip
    assert main(["train", *words, "steps=4", "run_dir=whole"]) == 0
    assert main(["train", *words, "steps=2", "run_dir=halves"]) == 0
    assert main(["train", *words, "steps=4", "run_dir=halves", "resume=force"]) == 0
    losses = {run: [line["D_loss"] for line in read_lines(Path(run, "scalars.jsonl"))] for run in ("whole", "halves")}
    assert losses["whole"] == losses["halves"]
    assert len(losses["whole"]) == 4
    assert np.isfinite(losses["whole"]).all()
