"""ImageNet (Russakovsky et al. 2015) in folders of classes. For non-commercial research, by its terms.

`train/n01440764/…` and `val/n01440764/…`, as most programs have it; the validation pictures are sorted into folders by its development kit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sngan.config import Resolution
from sngan.data.decoded import Cache
from sngan.data.image_folder import ImageFolder
from sngan.errors import UserError
from sngan.registry import register


@register("data", "imagenet_folder")
class ImageNetFolder(ImageFolder):
    """1,281,167 training pictures of a thousand classes; the 50,000 of the validation split are the test split.

    The short side is resized to `resolution` (Lanczos) and the centre cut out. `root` holds `train` and `val`.
    """

    def __init__(self, *, root: Path, resolution: Resolution, on_error: Literal["stop", "skip"], cache: Cache):
        for split in ("train", "val"):
            if not (root.expanduser() / split).is_dir():
                raise UserError(
                    f"ImageNet is not in data.root={root} (no {root / split}); it is to hold train and val with a folder for each class, "
                    "from https://image-net.org"
                )
        super().__init__(
            path=root / "train",
            test_path=root / "val",
            resolution=resolution,
            channels=3,
            fit="crop",
            range=None,
            on_error=on_error,
            cache=cache,
        )
        self.name = "imagenet"
