"""Tiny ImageNet (Stanford CS231n): 200 classes of ImageNet at 64 px. For non-commercial research, by the terms of ImageNet's pictures."""

from __future__ import annotations

from pathlib import Path

from sngan.config import Resolution
from sngan.data.decoding import Form
from sngan.data.image_folder import Pictures, checked
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.data.picture_files import find_pictures
from sngan.errors import UserError
from sngan.files import said
from sngan.processes import open_regular
from sngan.registry import register

ANNOTATIONS = "val/val_annotations.txt"
"""Lines of a validation picture's name, its class, and a box, with tabs between."""


@register("data", "tiny_imagenet")
class TinyImageNet(Source):
    """100,000 training pictures; the 10,000 of the validation split are the test split, because those for tests have no labels.

    Classes are numbered in the order of their names. `root` holds the folder `tiny-imagenet-200`. At 64 px pictures are as they are, else
    resized (Lanczos).
    """

    name = "tiny_imagenet"

    def __init__(self, *, root: Path, resolution: Resolution):
        folder = root.expanduser() / "tiny-imagenet-200"
        for needed in ("train", ANNOTATIONS):
            if not (folder / needed).exists():
                raise UserError(
                    f"Tiny ImageNet is not in data.root={root} (no {folder / needed}); it is downloaded by hand, from\n"
                    f"http://cs231n.stanford.edu/tiny-imagenet-200.zip, and unpacked into {root}"
                )
        files = find_pictures(folder / "train", "data.root").files
        names = sorted({file.partition("/")[0] for file in files})
        number = {name: i for i, name in enumerate(names)}
        try:
            with open_regular(folder / ANNOTATIONS, follow=True) as file:
                lines = sorted(line.split("\t")[:2] for line in file.read().decode().splitlines() if line.strip())
            held_out = {f"val/images/{name}": number[label] for name, label in lines}
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{folder / ANNOTATIONS} cannot be read ({said(error)}); it has a picture and its class in each line"
            ) from None
        form = Form(resolution)
        self._pictures: dict[Split, Pictures] = {
            "train": Pictures(folder / "train", files, [number[file.partition("/")[0]] for file in files], form),
            "test": Pictures(folder, list(held_out), list(held_out.values()), form),
        }
        self.spec = ImageSpec(resolution, channels=3, n_classes=len(names))

    def count(self, split: Split) -> int:
        return len(self._pictures[split])

    def load(self, split: Split) -> Images:
        return checked(self._pictures[split], "stop")
