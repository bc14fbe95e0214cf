"""CelebA, aligned and cropped (Liu et al. 2015). For non-commercial research only, as its authors say.

The faces are in the middle of pictures of 178 x 218 px; of these works on GANs cut out a square before they resize it: of 178 px, 148, 128 or 108.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sngan.config import Resolution
from sngan.data.decoding import Form
from sngan.data.image_folder import Pictures, checked
from sngan.data.images import Images, ImageSpec, Source, Split
from sngan.errors import UserError
from sngan.files import said
from sngan.processes import open_regular
from sngan.registry import register

PARTITION = "list_eval_partition.txt"
"""Lines of a picture's name and its part: 0 for training, 1 for validation, 2 for tests."""

PARTS: dict[Split, str] = {"train": "0", "test": "2"}

PICTURES = ("img_align_celeba", "img_align_celeba.zip")


@register("data", "celeba")
class CelebA(Source):
    """162,770 training and 19,962 test pictures of faces, without labels: a square of `crop` px cut out of the middle, resized (Lanczos).

    `root` holds the folder `celeba`, as torchvision has it, with `list_eval_partition.txt` and `img_align_celeba` or `img_align_celeba.zip`,
    which is read in place.
    """

    name = "celeba"

    def __init__(self, *, root: Path, resolution: Resolution, crop: Annotated[int, Field(ge=1, le=178)]):
        folder = root.expanduser() / "celeba"
        place = next((folder / name for name in PICTURES if (folder / name).exists()), None)
        if place is None or not (folder / PARTITION).is_file():
            missing = PARTITION if place else PICTURES[0]
            raise UserError(
                f"CelebA is not in data.root={root} (no {folder / missing}); it is downloaded by hand, from\n"
                f"https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html: {PICTURES[1]} and {PARTITION} into {folder}"
            )
        try:
            with open_regular(folder / PARTITION, follow=True) as file:
                lines = [line.split() for line in file.read().decode().splitlines() if line.strip()]
            self._parts = {split: [name for name, part in lines if part == number] for split, number in PARTS.items()}
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder / PARTITION} cannot be read ({said(error)}); it has a picture and its part in each line"
            ) from None
        below = "img_align_celeba/" if place.is_file() else ""
        form = Form(resolution, cut=crop)
        self._pictures = {
            split: Pictures(place, [below + name for name in names], [0] * len(names), form) for split, names in self._parts.items()
        }
        self.spec = ImageSpec(resolution, channels=3, n_classes=0)

    def count(self, split: Split) -> int:
        return len(self._pictures[split])

    def load(self, split: Split) -> Images:
        return checked(self._pictures[split], "stop")
