"""The interface of every generator."""

from __future__ import annotations

from torch import Tensor, nn

from sngan.errors import UserError


class Generator(nn.Module):
    """Maps latents z [N, Z] ~ N(0, I), and labels y int64 [N] if `n_classes` > 0, to images [N, C, H, W] in [-1, 1].

    In training mode batch normalisation uses batch statistics and updates the running ones; in evaluation mode it uses the running ones.
    """

    z_dim: int
    n_classes: int

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def bottom_width(resolution: int, widths: tuple[int, ...]) -> int:
    """The side of the first feature map, which every width after the first doubles; `UserError` if it is not a whole number."""
    factor: int = 2 ** (len(widths) - 1)
    if resolution % factor:
        raise UserError(
            f"generator.widths={list(widths)} doubles the image {len(widths) - 1} times: the resolution must be a multiple of {factor}, "
            f"not {resolution}; change generator.widths or the images (data.resolution where there is one)"
        )
    return resolution // factor
