"""STL-10 (Coates, Ng & Lee 2011), as torchvision downloads and checks it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch.nn import functional as F
from tqdm import tqdm

from sngan.data.images import Images, ImageSpec, Split, TensorImages
from sngan.data.torchvision_files import TorchvisionFiles
from sngan.registry import register

SIDE = 96
"""The side of the original pictures."""

CHUNK = 1000
"""Images that are resized at once, 28 MB."""


@register("data", "stl10")
class STL10(TorchvisionFiles):
    """100,000 unlabelled training images, and 8,000 test images of ten of the classes among them: another distribution.

    They are resized from 96 px by a bilinear filter with antialiasing, as torchvision and Pillow do it; the paper says 48 px and not how.
    `root` is the folder that holds or gets `stl10_binary`.
    """

    name, title = "stl10", "STL-10"

    def __init__(self, *, root: Path, download: bool, resolution: Annotated[int, Field(ge=1, le=SIDE)]):
        super().__init__(root=root, download=download)
        self.spec = ImageSpec(resolution=resolution, channels=3, n_classes=0)

    def count(self, split: Split) -> int:
        return {"train": 100_000, "test": 8_000}[split]

    def load(self, split: Split) -> Images:
        files = torch.from_numpy(self._open(split="unlabeled" if split == "train" else "test").data)  # [N, 3, 96, 96]
        side = self.spec.height
        pixels = torch.empty(len(files), 3, side, side, dtype=torch.uint8)
        with tqdm(total=len(files), desc="resizing images", unit="image", delay=2, disable=None) as bar:
            for small, large in zip(pixels.split(CHUNK), files.split(CHUNK), strict=True):
                small.copy_(F.interpolate(large.contiguous(), (side, side), mode="bilinear", antialias=True))
                bar.update(len(small))
        return TensorImages(pixels)

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.STL10
