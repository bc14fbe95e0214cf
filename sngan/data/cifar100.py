"""CIFAR-100 (Krizhevsky 2009), as torchvision downloads and checks it. Its authors state no licence and ask to be cited."""

from __future__ import annotations

from typing import Any

from sngan.data.cifar10 import CIFAR10
from sngan.data.images import ImageSpec
from sngan.registry import register


@register("data", "cifar100")
class CIFAR100(CIFAR10):
    """50,000 training and 10,000 test images of a hundred classes, as they are; `root` is the folder that holds or gets `cifar-100-python`."""

    name, title = "cifar100", "CIFAR-100"
    spec = ImageSpec(resolution=32, channels=3, n_classes=100)

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR100
