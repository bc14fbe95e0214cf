"""The interface of every generator."""

from __future__ import annotations

from torch import Tensor, nn

from sngan.data.images import ImageSpec, halved


class Generator(nn.Module):
    """Maps latents z [N, Z] ~ N(0, I), and labels y int64 [N] if `n_classes` > 0, to images [N, C, H, W] in [-1, 1].

    In training mode batch normalisation uses batch statistics and updates the running ones; in evaluation mode it uses the running ones.
    """

    z_dim: int
    n_classes: int

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def first_map(spec: ImageSpec, widths: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape (C, H, W) of the first feature map, whose sides every width after the first doubles; `UserError` if they are no whole numbers."""
    why, change = f"generator.widths={list(widths)} doubles the image", "change generator.widths"
    return widths[0], *halved(spec, len(widths) - 1, why=why, change=change)
