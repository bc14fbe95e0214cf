"""A 3x3 convolution with the resampling beside it, as one operation (exact algebra, a third fewer FLOPs in the paper's ResNets).

Nearest upsampling repeats each pixel 2 x 2, so the nine taps of a 3x3 kernel after it meet only four different pixels. A 3x3 kernel followed
by the mean of 2 x 2 pixels equals one larger kernel at every other pixel. In both cases the one kernel is 4x4 with stride 2: the sum or the
mean of the 3x3 kernel's four shifts by up to a pixel. The parameter stays the 3x3 weight, and a norm normalises that.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_FUSED = 8
"""One operation is faster if the smaller map has at least this side; on smaller maps much of a 4x4 kernel lies outside."""


class Resampling3x3(nn.Conv2d):
    """The base of both: a 3x3 convolution with padding 1, on the larger map of the resampling."""

    fused: bool | None = None
    """Whether to run as one operation; None: where that is faster."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 3, padding=1)

    def _is_fused(self, side: int) -> bool:
        return side >= SMALLEST_FUSED if self.fused is None else self.fused


Upsampling = Literal["nearest", "bilinear"]


def upsampled(x: Tensor, upsampling: Upsampling) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W]."""
    if upsampling == "nearest" and torch.compiler.is_compiling():
        # compiled, the gradient of `interpolate` is added up in whatever order the threads come; that of this is a sum of 2 x 2 pixels
        n, c, h, w = x.shape
        return x[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)
    return F.interpolate(x, scale_factor=2, mode=upsampling)


class UpsampledConv2d(Resampling3x3):
    """Upsampling, then the convolution: [N, C_in, H, W] -> [N, C_out, 2H, 2W]; one operation where it is the nearest pixel's."""

    def __init__(self, c_in: int, c_out: int, upsampling: Upsampling = "nearest"):
        super().__init__(c_in, c_out)
        self.upsampling = upsampling

    def forward(self, x: Tensor) -> Tensor:
        if self.upsampling == "nearest" and self._is_fused(x.shape[-1]):
            kernel = 4 * shifted_mean(self.weight).flip(2, 3).transpose(0, 1)  # transposed convolutions read kernels backwards
            return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)
        return super().forward(upsampled(x, self.upsampling))


class PooledConv2d(Resampling3x3):
    """The convolution, then the mean of 2 x 2 pixels: [N, C_in, H, W] -> [N, C_out, H / 2, W / 2]."""

    def forward(self, x: Tensor) -> Tensor:
        if self._is_fused(x.shape[-1] // 2):
            return F.conv2d(x, shifted_mean(self.weight), self.bias, stride=2, padding=1)
        return F.avg_pool2d(super().forward(x), 2)


def shifted_mean(weight: Tensor) -> Tensor:
    """The mean of the four shifts of a 3x3 kernel by up to a pixel: [C_out, C_in, 3, 3] -> [C_out, C_in, 4, 4].

    Four times it is their sum, to the bit.
    """
    return F.avg_pool2d(weight, 2, stride=1, padding=1)
