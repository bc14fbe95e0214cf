"""CIFAR-10 (Krizhevsky 2009), as torchvision downloads and checks it."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import torch

from sngan.data.images import Images, ImageSpec, Source, Split, TensorImages
from sngan.errors import UserError
from sngan.registry import register


@register("data", "cifar10")
class CIFAR10(Source):
    """50,000 training and 10,000 test images of ten classes; `root` is the folder that holds or gets `cifar-10-batches-py`."""

    name = "cifar10"
    spec = ImageSpec(resolution=32, channels=3, n_classes=10)

    def __init__(self, *, root: Path, download: bool):
        self._root = root.expanduser()
        self._download = download
        missing = [] if download else _missing(self._root)
        if missing:
            raise UserError(
                f"CIFAR-10 is not in data.root={root} (no {missing[0]}); give its folder as data.root=…,\n"
                "let it be downloaded with data.download=true, or use a file of your own: data=npz data.path=…"
            )

    def count(self, split: Split) -> int:
        return {"train": 50_000, "test": 10_000}[split]

    def load(self, split: Split) -> Images:
        from torchvision import datasets

        try:
            files = datasets.CIFAR10(str(self._root), train=split == "train", download=self._download)
        except (OSError, RuntimeError, HTTPException) as error:
            # torchvision checks the sum of what it finds, so a second try replaces what a failed one has left
            if self._download:
                raise UserError(
                    f"CIFAR-10 could not be downloaded to data.root={self._root}: {error};\n"
                    "try again, or use a file of your own: data=npz data.path=…"
                ) from None
            raise UserError(f"CIFAR-10 in data.root={self._root} is damaged; data.download=true replaces it") from None
        pixels = torch.from_numpy(files.data).permute(0, 3, 1, 2).contiguous()  # [N, 3, 32, 32]
        return TensorImages(pixels, torch.tensor(files.targets, dtype=torch.int64))


def _missing(root: Path) -> list[Path]:
    from torchvision import datasets

    files = datasets.CIFAR10
    names = [name for name, _ in files.train_list + files.test_list] + [files.meta["filename"]]
    return [path for path in (root / files.base_folder / name for name in names) if not path.is_file()]
