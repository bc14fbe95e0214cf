"""The augmentations as their papers' code writes them, an image [C, H, W] at a time, from uniform numbers; float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor


def diffaugment(x: Tensor, u: Sequence[float], *, translation: float = 0.125, cutout: float = 0.5) -> Tensor:
    """Of the numbers, the last four choose whole ones: shifts of rows and columns, and the middle of the hole."""
    x = x + u[0] - 0.5
    x = (x - x.mean(0)) * 2 * u[1] + x.mean(0)
    x = (x - x.mean()) * (u[2] + 0.5) + x.mean()
    _, height, width = x.shape
    most = [int(side * translation + 0.5) for side in (height, width)]
    rows, columns = (math.floor(v * (2 * m + 1)) - m for v, m in zip(u[3:5], most, strict=True))
    padded = F.pad(x, (most[1], most[1], most[0], most[0]))
    x = padded[:, most[0] + rows :, most[1] + columns :][:, :height, :width]
    kept = torch.ones(height, width, dtype=x.dtype)
    (top, bottom), (left, right) = (
        hole(v, side, int(side * cutout + 0.5)) for v, side in zip(u[5:7], (height, width), strict=True)
    )
    kept[top:bottom, left:right] = 0
    return x * kept


def hole(u: float, side: int, size: int) -> tuple[int, int]:
    first = math.floor(u * (side + 1 - size % 2)) - size // 2
    return max(first, 0), min(first + size, side)


def ada(x: Tensor, u: Sequence[float], *, p: float) -> Tensor:
    """Forward transformations as matrices, inverted at the end; numbers come in pairs, whether and how."""
    _, height, width = x.shape
    half = 1 - math.sqrt(max(1 - p, 0))
    G = torch.eye(3, dtype=torch.float64)  # places in x -> places in the result
    if u[0] < p:
        G = matrix([1 - 2 * math.floor(2 * u[1]), 0, 0], [0, 1, 0], [0, 0, 1]) @ G
    if u[2] < p:
        G = turned(-math.pi / 2 * math.floor(4 * u[3])) @ G
    if u[4] < p:
        G = shifted(round((2 * u[5] - 1) * width / 8), round((2 * u[6] - 1) * height / 8)) @ G
    if u[7] < p:
        G = stretched(2 ** normal(u[8], 0.2), 2 ** normal(u[8], 0.2)) @ G
    if u[9] < half:
        G = turned(-(2 * u[10] - 1) * math.pi) @ G
    if u[11] < p:
        G = stretched(2 ** normal(u[12], 0.2), 2 ** -normal(u[12], 0.2)) @ G
    if u[13] < half:
        G = turned(-(2 * u[14] - 1) * math.pi) @ G
    if u[15] < p:
        G = shifted(normal(u[16], 1 / 8) * width, normal(u[17], 1 / 8) * height) @ G
    unit = stretched((width - 1) / 2, (height - 1) / 2)  # from [-1, 1] to pixels from the centre
    grid = F.affine_grid((unit.inverse() @ G.inverse() @ unit)[None, :2], [1, *x.shape], align_corners=True)
    x = F.grid_sample(x[None], grid, padding_mode="reflection", align_corners=True)[0]
    if x.shape[0] == 4:
        return torch.cat([recoloured(x[:3], u, p), x[3:]])
    return recoloured(x, u, p)


def recoloured(x: Tensor, u: Sequence[float], p: float) -> Tensor:
    C = torch.eye(4, dtype=torch.float64)
    unit, v = torch.eye(4, dtype=torch.float64), torch.tensor([1, 1, 1, 0], dtype=torch.float64) / math.sqrt(3)
    if u[18] < p:
        b = normal(u[19], 0.2)
        C = matrix([1, 0, 0, b], [0, 1, 0, b], [0, 0, 1, b], [0, 0, 0, 1]) @ C
    if u[20] < p:
        c = 2 ** normal(u[21], 0.5)
        C = torch.diag(torch.tensor([c, c, c, 1], dtype=torch.float64)) @ C
    if u[22] < p:
        C = (unit - 2 * math.floor(2 * u[23]) * v.outer(v)) @ C
    if u[24] < p and len(x) > 1:
        a = (2 * u[25] - 1) * math.pi / math.sqrt(3)
        cross = matrix([0, -a, a, 0], [a, 0, -a, 0], [-a, a, 0, 0], [0, 0, 0, 0])
        C = torch.matrix_exp(cross) @ C  # a rotation by the angle about v
    if u[26] < p and len(x) > 1:
        C = (v.outer(v) + (unit - v.outer(v)) * 2 ** normal(u[27], 1.0)) @ C
    colours = C[:3, :3] @ x.expand(3, -1, -1).flatten(1) + C[:3, 3:]
    colours = colours if len(x) == 3 else colours.mean(0, keepdim=True)
    return colours.view_as(x)


def matrix(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def turned(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return matrix([c, -s, 0], [s, c, 0], [0, 0, 1])


def shifted(x: float, y: float) -> Tensor:
    return matrix([1, 0, x], [0, 1, y], [0, 0, 1])


def stretched(x: float, y: float) -> Tensor:
    return matrix([x, 0, 0], [0, y, 0], [0, 0, 1])


def normal(u: float, deviation: float) -> float:
    return NormalDist(0, deviation).inv_cdf(u)
