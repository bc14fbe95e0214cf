"""Grids of images as tensors, and PNG files."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.files import replace, said
from sngan.processes import open_regular

PADDING = 2
"""White pixels around each image of a grid."""


def grid(images: Tensor, columns: int) -> Tensor:
    """Images uint8 [N, C, H, W] side by side, `columns` in a row: uint8 [3, H', W'] on the CPU, [4, H', W'] if C is 4."""
    N, C, H, W = images.shape
    rows, columns, C = -(-N // columns), min(columns, N), max(C, 3)
    cells = torch.full((rows * columns, C, H + PADDING, W + PADDING), 255, dtype=torch.uint8)
    cells[:N, :, PADDING:, PADDING:] = images.cpu()
    laid_out = cells.view(rows, columns, C, H + PADDING, W + PADDING).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return F.pad(laid_out, (0, PADDING, 0, PADDING), value=255)


def write_png(image: Tensor, path: Path) -> None:
    """Writes an image, uint8 [C, H, W] with C = 1, 3 or 4 on the CPU, without loss."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()  # [H, W, C]
    content = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG")
    replace(path, content.getvalue(), flushed=False)


def ungrid(path: Path, spec: ImageSpec) -> Tensor:
    """The images, uint8 [N, 3, H, W] or [N, 4, H, W], of a grid in a PNG file; `UserError` if it is not a grid of images of this size."""
    import numpy as np
    from PIL import Image

    try:
        with open_regular(path) as content, Image.open(content, formats=["PNG"]) as file:
            pixels = torch.from_numpy(np.array(file.convert("RGBA" if spec.channels == 4 else "RGB"))).permute(
                2, 0, 1
            )  # [C, H', W']
    except Exception as error:  # decoders raise almost anything on bytes that they do not expect
        raise UserError(f"{path} cannot be read ({said(error)}); remove it") from None
    height, width = spec.height + PADDING, spec.width + PADDING  # of a cell
    if any(side <= PADDING or (side - PADDING) % cell for side, cell in zip(pixels.shape[1:], (height, width), strict=True)):
        raise UserError(f"{path} is no grid of images of {spec.size} px; remove it")
    inside = pixels[:, PADDING:, PADDING:]
    cells = inside.unfold(1, height, height).unfold(2, width, width)  # [C, rows, columns, height, width]
    return cells.permute(1, 2, 0, 3, 4).flatten(0, 1)[:, :, : spec.height, : spec.width].contiguous()
