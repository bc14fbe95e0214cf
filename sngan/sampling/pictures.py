"""Images as a tensor that a notebook shows."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from sngan.sampling.figures import Sheet, draw, near_square

MOST_SHOWN = 100
"""Images that a notebook shows, the first ones."""


class Pictures(Tensor):
    """Images uint8 [N, C, H, W] in 0..255, or one of them [C, H, W]: a tensor, of which a notebook shows a sheet."""

    def _repr_png_(self) -> bytes | None:
        images = self.as_subclass(Tensor)
        images = images[None] if images.dim() == 3 else images
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] not in (1, 3, 4) or 0 in images.shape:
            return None  # what was computed from images is a tensor like any other
        content = io.BytesIO()
        draw(Sheet(images[:MOST_SHOWN], near_square(min(len(images), MOST_SHOWN)))).save(content, "PNG")
        return content.getvalue()
