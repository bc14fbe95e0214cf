"""SVHN, the cropped digits (Netzer et al. 2011), as torchvision downloads and checks them. For non-commercial use only, as its authors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sngan.data.images import Images, ImageSpec, Split, TensorImages
from sngan.data.torchvision_files import TorchvisionFiles
from sngan.errors import UserError
from sngan.registry import register


@register("data", "svhn")
class SVHN(TorchvisionFiles):
    """73,257 training and 26,032 test images of digits, 32 px, as they are; digit 0 is class 0. `root` holds or gets `train_32x32.mat` and
    `test_32x32.mat`. Needs the extra svhn, which reads these files.
    """

    name, title = "svhn", "SVHN"
    spec = ImageSpec(resolution=32, channels=3, n_classes=10)

    def count(self, split: Split) -> int:
        return {"train": 73_257, "test": 26_032}[split]

    def load(self, split: Split) -> Images:
        try:
            files = self._open(split=split)
        except ImportError:
            raise UserError("data=svhn reads files of MATLAB; pip install 'sngan[svhn]' adds what that needs") from None
        pixels = torch.from_numpy(files.data.copy())  # [N, 3, 32, 32]
        return TensorImages(pixels, torch.from_numpy(files.labels))

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.SVHN

    def _files(self) -> list[Path]:
        return [Path(self._dataset().split_list[split][1]) for split in ("train", "test")]
