"""MNIST (LeCun, Cortes & Burges 1998), as torchvision downloads and checks it. Licence: CC BY-SA 3.0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sngan.config import Resolution
from sngan.data.decoding import Fit, Form, converted
from sngan.data.images import Images, ImageSpec, Split, TensorImages
from sngan.data.torchvision_files import TorchvisionFiles
from sngan.registry import register


@register("data", "mnist")
class MNIST(TorchvisionFiles):
    """60,000 training and 10,000 test images of the ten digits, grey, white on black.

    The 28 px images come to `resolution` as `fit` says: two pixels of black around them make 32 px. `root` is the folder that holds or gets
    `MNIST/raw`.
    """

    name, title = "mnist", "MNIST"

    def __init__(self, *, root: Path, download: bool, resolution: Resolution, fit: Fit):
        super().__init__(root=root, download=download)
        self._form = Form(resolution, 1, fit)
        self.spec = ImageSpec(resolution, channels=1, n_classes=10)

    def count(self, split: Split) -> int:
        return {"train": 60_000, "test": 10_000}[split]

    def load(self, split: Split) -> Images:
        files = self._open(train=split == "train")
        return TensorImages(converted(files.data[:, None], self._form, self.name), files.targets)  # from [N, 1, 28, 28]

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.MNIST

    def _files(self) -> list[Path]:
        dataset = self._dataset()
        return [Path(dataset.__name__, "raw", name.removesuffix(".gz")) for name, _ in dataset.resources]
