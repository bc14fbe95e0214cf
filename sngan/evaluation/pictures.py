"""Images as files that people look at."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor


def grid(images: Tensor, columns: int) -> Tensor:
    """Images uint8 [N, C, H, W] side by side, `columns` a row: uint8 [3, H', W'] on the CPU."""
    from torchvision.utils import make_grid

    return make_grid(images.cpu(), nrow=columns, padding=2, pad_value=255)


def write_png(image: Tensor, path: Path) -> None:
    """Writes an image, uint8 [C, H, W] with C = 1 or 3 on the CPU, without loss."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()  # [H, W, C]
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path)
