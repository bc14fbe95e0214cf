"""CIFAR-10 (Krizhevsky 2009), as torchvision downloads and checks it."""

from __future__ import annotations

from typing import Any

import torch

from sngan.data.images import Images, ImageSpec, Split, TensorImages
from sngan.data.torchvision_files import TorchvisionFiles
from sngan.registry import register


@register("data", "cifar10")
class CIFAR10(TorchvisionFiles):
    """50,000 training and 10,000 test images of ten classes; `root` is the folder that holds or gets `cifar-10-batches-py`."""

    name, title = "cifar10", "CIFAR-10"
    spec = ImageSpec(resolution=32, channels=3, n_classes=10)

    def count(self, split: Split) -> int:
        return {"train": 50_000, "test": 10_000}[split]

    def load(self, split: Split) -> Images:
        files = self._open(train=split == "train")
        pixels = torch.from_numpy(files.data).permute(0, 3, 1, 2).contiguous()  # [N, 3, 32, 32]
        return TensorImages(pixels, torch.tensor(files.targets, dtype=torch.int64))

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR10
