"""Pictures in the tar archives of WebDataset (https://github.com/webdataset/webdataset), read where they lie.

A sample is found by its place, so that every epoch has an order of its own over all archives, and a resumed run goes on exactly, which
reading archives one after the other through a buffer would not give.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from sngan.config import Resolution
from sngan.data.arrays import Range
from sngan.data.decoding import Fit, Form
from sngan.data.encoded import EncodedImages
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.data.labels import Classes, classes_of, plain
from sngan.data.tar_samples import Samples, find_samples
from sngan.errors import UserError
from sngan.processes import open_regular
from sngan.registry import register


@register("data", "webdataset")
class WebDataset(Source):
    """The pictures of tar archives, such as `0001.jpg`, whose labels, whole numbers or text, are in files such as `0001.cls`.

    `path` is an archive, a folder of archives, or a pattern such as `shards/train-*.tar`; `test_path` is the same for the test split. `image`
    and `label` name fields, the part of a name after its first dot; null takes the only picture, and `cls` where all samples have one. The
    values of the labels are the classes 0, 1, … in natural order. Pictures become images as those of `image_folder` do. Archives are not
    compressed. Constructing reads their headers and labels. A picture that cannot be read stops the run where it comes up.
    """

    name = "webdataset"

    def __init__(
        self,
        *,
        path: str,
        test_path: str | None,
        image: str | None,
        label: str | None,
        resolution: Resolution,
        channels: Literal[1, 3, 4],
        fit: Fit,
        range: Range | None,
    ):
        train = find_samples(path, "data.path", image=image, label=label)
        self._samples: dict[Split, Samples] = {"train": train}
        if test_path is not None:
            self._samples["test"] = test = find_samples(test_path, "data.test_path", image=image, label=label)
            both = {archive.resolve() for archive in train.archives} & {archive.resolve() for archive in test.archives}
            if both:
                raise UserError(
                    f"data.test_path={test_path}: {min(both)} is in data.path, too, and would be trained on; keep them apart"
                )
        self._classes: Classes | None = None
        if train.labels is not None:
            labels, _ = plain(train.labels, len(train.labels), f"data.path={path}: the array of labels")
            self._classes = classes_of(labels, None, renumber=True)
        self._numbers = {split: self._numbered(split) for split in self._samples}
        self._form = Form(resolution, channels, fit, range)
        self.spec = ImageSpec(resolution, channels, len(self._classes.values) if self._classes else 0)
        self.listing = self._listing()

    def _numbered(self, split: Split) -> list[int] | None:
        """The class of each sample."""
        if self._classes is None:
            return None
        found = self._samples[split].labels
        if found is None:
            raise UserError("data=webdataset: test samples have no labels, training samples have; give all labels, or none")
        labels, _ = plain(found, len(found), f"data=webdataset: the array of {split} labels")
        return self._classes.numbers(labels, f"data=webdataset: {split} label").tolist()

    def _listing(self) -> str:
        digest = hashlib.sha256(repr(self._classes).encode())
        for split, samples in self._samples.items():
            digest.update(f"{split} {[path.name for path in samples.archives]} {self._numbers[split]}".encode())
            digest.update(samples.places.tobytes())
        return digest.hexdigest()

    def _of(self, split: Split) -> Samples:
        if split not in self._samples:
            raise UserError("data=webdataset has no test split; give one with data.test_path=…, or protocol.reference=train")
        return self._samples[split]

    def count(self, split: Split) -> int:
        return len(self._of(split).places)

    def load(self, split: Split) -> Images:
        return ArchivedImages(self._of(split), self._form, self._numbers[split])


class ArchivedImages(EncodedImages):
    """Pictures at places of archives."""

    def __init__(self, samples: Samples, form: Form, labels: list[int] | None):
        super().__init__(len(samples.places), form, labels)
        self.samples = samples

    def content(self, index: int) -> bytes:
        archive, start, size = self.samples.places[index].tolist()
        with open_regular(self.samples.archives[archive], follow=True) as file:
            file.seek(start)
            return file.read(size)

    def title(self, index: int) -> str:
        archive, start, _ = self.samples.places[index].tolist()
        return f"{self.samples.archives[archive]}: the picture at byte {start}"
