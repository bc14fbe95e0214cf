"""Grids of images as tensors, and PNG files."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from sngan.errors import UserError
from sngan.files import replace, said
from sngan.processes import open_regular

PADDING = 2
"""White pixels around each image of a grid."""


def grid(images: Tensor, columns: int) -> Tensor:
    """Images uint8 [N, C, H, W] side by side, `columns` in a row: uint8 [3, H', W'] on the CPU."""
    from torchvision.utils import make_grid

    laid_out: Tensor = make_grid(images.cpu(), nrow=columns, padding=PADDING, pad_value=255)
    return laid_out


def write_png(image: Tensor, path: Path) -> None:
    """Writes an image, uint8 [C, H, W] with C = 1 or 3 on the CPU, without loss."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()  # [H, W, C]
    content = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG")
    replace(path, content.getvalue(), flushed=False)


def ungrid(path: Path, resolution: int) -> Tensor:
    """The images, uint8 [N, 3, H, W], of a grid in a PNG file; `UserError` if it is not a grid of images of this resolution."""
    import numpy as np
    from PIL import Image

    try:
        with open_regular(path) as content, Image.open(content, formats=["PNG"]) as file:
            pixels = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)  # [3, H', W']
    except Exception as error:  # decoders raise almost anything on bytes that they do not expect
        raise UserError(f"{path} cannot be read ({said(error)}); remove it") from None
    cell = resolution + PADDING
    if any(side <= PADDING or (side - PADDING) % cell for side in pixels.shape[1:]):
        raise UserError(f"{path} is no grid of images of {resolution} px; remove it")
    inside = pixels[:, PADDING:, PADDING:]
    cells = inside.unfold(1, cell, cell).unfold(2, cell, cell)  # [3, rows, columns, cell, cell]
    return cells.permute(1, 2, 0, 3, 4).flatten(0, 1)[:, :, :resolution, :resolution].contiguous()
