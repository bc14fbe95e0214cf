"""The residual blocks of the SNGAN ResNets (paper Tables 4-6, Figure 8; details as in the author code)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from sngan.layers.batch_norm import BatchNorm2d
from sngan.layers.resampling import PooledConv2d, UpsampledConv2d, Upsampling, upsampled


class GeneratorBlock(nn.Module):
    """BN-ReLU-up-conv3-BN-ReLU-conv3 plus a shortcut up-conv1: [N, C_in, H, W] -> [N, C_out, 2H, 2W].

    The shortcut's 1x1 convolution runs before the upsampling, which gives the same result at a quarter of the cost. `norm` makes both
    norms from a number of channels; a conditional one is also given `condition`: labels int64 [N], or features [N, F].
    """

    def __init__(
        self, c_in: int, c_out: int, *, norm: Callable[[int], nn.Module] = BatchNorm2d, upsampling: Upsampling = "nearest"
    ):
        super().__init__()
        self.upsampling = upsampling
        self.norm1 = norm(c_in)
        self.conv1 = UpsampledConv2d(c_in, c_out, upsampling)
        self.norm2 = norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        given = () if condition is None else (condition,)
        h: Tensor = self.conv1(F.relu(self.norm1(x, *given)))  # [N, C_out, 2H, 2W]
        h = self.conv2(F.relu(self.norm2(h, *given)))
        return h + upsampled(self.shortcut(x), self.upsampling)


class DiscriminatorBlock(nn.Module):
    """(norm)-ReLU-conv3-(norm)-ReLU-conv3-(pool) plus a shortcut conv1-(pool): [N, C_in, H, W] -> [N, C_out, H or H/2, W or W/2].

    `pool` is the mean of 2 x 2 pixels. The shortcut takes x, or with `rectified` relu(x), as where a ReLU in place changes x before the
    shortcut reads it. It has no convolution if neither size nor channels change. It pools before its convolution, which gives the same
    result at a quarter of the cost. `c_hidden` is the number of channels between the convolutions: C_in in the author code, C_out in
    others. `norm` makes a norm of activations from a number of channels.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        c_hidden: int,
        downsample: bool,
        rectified: bool = False,
        norm: Callable[[int], nn.Module] = nn.Identity,
    ):
        super().__init__()
        self.rectified = rectified
        self.norm1 = norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_hidden, 3, padding=1)
        self.norm2 = norm(c_hidden)
        self.conv2 = _last_conv(c_hidden, c_out, downsample)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if downsample or c_in != c_out else nn.Identity()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv1(F.relu(self.norm1(x)))
        h = self.conv2(F.relu(self.norm2(h)))
        shortcut: Tensor = self.shortcut(_pool(F.relu(x) if self.rectified else x, self.downsample))
        return h + shortcut

    def bound(self, norms: Mapping[str, float]) -> float:
        """An upper bound on the block's Lipschitz constant, from its layers' operator norms by name; valid if activations are not normalised."""
        return _bound(norms, self.downsample)


class FirstDiscriminatorBlock(nn.Module):
    """The block that takes the image: conv3-ReLU-conv3-(pool) plus a shortcut (pool)-conv1; it has no ReLU before the first convolution."""

    def __init__(self, c_in: int, c_out: int, *, downsample: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv2 = _last_conv(c_out, c_out, downsample)
        self.shortcut = nn.Conv2d(c_in, c_out, 1)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv2(F.relu(self.conv1(x)))
        shortcut: Tensor = self.shortcut(_pool(x, self.downsample))
        return h + shortcut

    def bound(self, norms: Mapping[str, float]) -> float:
        """As `DiscriminatorBlock.bound`."""
        return _bound(norms, self.downsample)


def _bound(norms: Mapping[str, float], downsample: bool) -> float:
    """The bounds of the two paths add up. ReLU has the Lipschitz constant 1, the mean of 2 x 2 pixels the norm 1/2, the identity 1."""
    return (0.5 if downsample else 1.0) * (norms["conv1"] * norms["conv2"] + norms.get("shortcut", 1.0))


def _last_conv(c_in: int, c_out: int, downsample: bool) -> nn.Conv2d:
    return PooledConv2d(c_in, c_out) if downsample else nn.Conv2d(c_in, c_out, 3, padding=1)


def _pool(h: Tensor, downsample: bool) -> Tensor:
    return F.avg_pool2d(h, 2) if downsample else h
