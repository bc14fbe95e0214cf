"""Data sets of Hugging Face's library `datasets` (https://huggingface.co/docs/datasets)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sngan.config import Resolution
from sngan.data.arrays import Range
from sngan.data.decoding import Fit, Form
from sngan.data.encoded import EncodedImages
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.data.labels import Classes, classes_of, plain
from sngan.errors import UserError, nearest
from sngan.registry import register


@register("data", "huggingface")
class HuggingFace(Source):
    """A data set with a column of images: a name on the Hub, a folder of files that `datasets` reads, or one that `save_to_disk` has written.

    `subset` is one of several data sets under a name, `revision` a branch, tag or commit of it; code of strangers is never run. `train_split`
    and `test_split` name splits; a `test_split` of null is `test`, if there is one. `image` and `label` name columns; null takes the only column of
    images, and the only one of class labels, if there is one. Class labels keep their numbers; other whole numbers or text become 0, 1, … in
    natural order. Pictures become images as those of `image_folder` do.

    Constructing downloads what the library's cache does not hold, and reads the labels. The tables stay on disk, mapped into memory, and are read
    by row. A picture that cannot be read stops the run where it comes up. Needs the extra huggingface.
    """

    def __init__(
        self,
        *,
        path: str,
        subset: str | None,
        revision: str | None,
        train_split: str,
        test_split: str | None,
        image: str | None,
        label: str | None,
        resolution: Resolution,
        channels: Literal[1, 3, 4],
        fit: Fit,
        range: Range | None,
    ):
        self.name = Path(path).name
        found = _found(path, subset, revision)
        self._tables: dict[Split, Any] = {"train": _split(found, train_split, "data.train_split")}
        if test_split is not None or "test" in found:
            self._tables["test"] = _split(found, test_split or "test", "data.test_split")
        self._image, label = _columns(self._tables["train"].features, image, label)
        for split, table in self._tables.items():
            if not {self._image, label} - {None} <= table.features.keys():
                raise UserError(
                    f"data={path}: the {split} split has other columns: {', '.join(table.features)}; data.{split}_split=… names another"
                )
        self._classes, self._numbers = self._numbered(label)
        self._form = Form(resolution, channels, fit, range)
        self.spec = ImageSpec(resolution, channels, len(self._classes.values) if self._classes else 0)
        listed = (
            f"{self._image} {self._classes} {[(split, len(table), self._numbers[split]) for split, table in self._tables.items()]}"
        )
        self.listing = hashlib.sha256(listed.encode()).hexdigest()

    def _numbered(self, label: str | None) -> tuple[Classes | None, dict[Split, list[int] | None]]:
        """The classes, and the class of each row."""
        if label is None:
            return None, dict.fromkeys(self._tables)
        where = f"data=huggingface: column {label}"
        values = {
            split: plain(_column(table, label), len(table), f"{where} of {split}")[0] for split, table in self._tables.items()
        }
        n_classes = getattr(self._tables["train"].features[label], "num_classes", None)
        classes = classes_of(values["train"], n_classes, renumber=n_classes is None)
        return classes, {split: classes.numbers(labels, f"{where} of {split}:").tolist() for split, labels in values.items()}

    def _of(self, split: Split) -> Any:
        if split not in self._tables:
            raise UserError("data=huggingface has no split test; name one with data.test_split=…, or take protocol.reference=train")
        return self._tables[split]

    def count(self, split: Split) -> int:
        return len(self._of(split))

    def load(self, split: Split) -> Images:
        import datasets

        table = self._of(split).select_columns(self._image).cast_column(self._image, datasets.Image(decode=False))
        return TableImages(table, self._image, self._form, self._numbers[split])


class TableImages(EncodedImages):
    """Picture files in a column of a table."""

    def __init__(self, table: Any, column: str, form: Form, labels: list[int] | None):
        super().__init__(len(table), form, labels)
        self.table, self.column = table, column

    def content(self, index: int) -> bytes:
        cell = self.table[index][self.column]
        content: bytes = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
        return content

    def title(self, index: int) -> str:
        return f"data=huggingface: row {index} of column {self.column}"


def _found(path: str, subset: str | None, revision: str | None) -> Any:
    """The splits by name."""
    try:
        import datasets
    except ImportError:
        raise UserError("data=huggingface needs the extra huggingface: pip install 'sngan[huggingface]'") from None
    folder = Path(path).expanduser()
    try:
        if (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(folder))
        if (folder / "state.json").is_file():
            return {"train": datasets.load_from_disk(str(folder))}
        return datasets.load_dataset(str(folder) if folder.exists() else path, subset, revision=revision)
    except Exception as error:  # of the library, of Arrow, of the Hub
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"data.path={path} cannot be loaded as a data set of Hugging Face ({reason});\n"
            "give a folder that is there, or a name on the Hub such as user/name, with data.subset=… if it has several"
        ) from None


def _split(found: Any, name: str, key: str) -> Any:
    if name not in found:
        raise UserError(f"{key}={name}: no such split; {nearest(name, found)}")
    if not len(found[name]):
        raise UserError(f"{key}={name} has no rows")
    return found[name]


def _columns(features: Any, image: str | None, label: str | None) -> tuple[str, str | None]:
    """The names of the columns of images and of labels."""
    import datasets

    if image is None:
        image = _only(
            [name for name, kind in features.items() if isinstance(kind, datasets.Image)], features, "data.image", "images"
        )
    if label is None:
        of_classes = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
        label = _only(of_classes, features, "data.label", "class labels") if of_classes else None
    for key, name in (("data.image", image), ("data.label", label)):
        if name is not None and name not in features:
            raise UserError(f"{key}={name}: no such column; {nearest(name, features)}")
    if not isinstance(features[image], datasets.Image):
        raise UserError(f"data.image={image} is no column of images, but of {features[image]}")
    return image, label


def _only(names: list[str], features: Any, key: str, of: str) -> str:
    if len(names) != 1:
        raise UserError(f"{key}=…: name one; there are {len(names)} columns of {of}, and these columns: {', '.join(features)}")
    return names[0]


def _column(table: Any, name: str) -> np.ndarray[Any, Any]:
    """The values of a column, without reading the others."""
    return np.asarray(table.select_columns(name).with_format("numpy")[:][name])
