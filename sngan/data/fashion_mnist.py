"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), as torchvision downloads and checks it. Licence: MIT."""

from __future__ import annotations

from typing import Any

from sngan.data.mnist import MNIST
from sngan.registry import register


@register("data", "fashion_mnist")
class FashionMNIST(MNIST):
    """60,000 training and 10,000 test images of ten kinds of clothing, as MNIST's; `root` is the folder that holds or gets `FashionMNIST/raw`."""

    name, title = "fashion_mnist", "Fashion-MNIST"

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.FashionMNIST
