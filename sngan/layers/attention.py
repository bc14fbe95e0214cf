"""Self-attention over the pixels of a map, SAGAN (Zhang et al. 2018, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sngan.errors import UserError


class SelfAttention(nn.Module):
    """h + gamma * o(sum over pixels j of softmax_j(<query_i, key_j>) value_j), with gamma 0 at first: [N, C, H, W] -> [N, C, H, W].

    Queries and keys have C / 8 channels and values C / 2, from 1x1 convolutions without bias; keys and values are the largest of 2 x 2
    pixels (author code). H and W are even. Written in operations that have second derivatives, which gradient penalties need.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor) -> Tensor:
        query = self.query(h).flatten(2)  # [N, C / 8, H W]
        key = F.max_pool2d(self.key(h), 2).flatten(2)  # [N, C / 8, H W / 4]
        value = F.max_pool2d(self.value(h), 2).flatten(2)  # [N, C / 2, H W / 4]
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # [N, H W, H W / 4]
        mixed = (value @ attention.transpose(1, 2)).unflatten(2, h.shape[2:])  # [N, C / 2, H, W]
        result: Tensor = h + self.gamma * self.out(mixed)
        return result


def place_of(attention: int | None, sides: Sequence[int], *, key: str) -> int | None:
    """The last of the maps with these sides that has the side `attention`; None if that is. `UserError` names the key if there is none."""
    if attention is None:
        return None
    usable = [side for side in dict.fromkeys(sides) if side % 2 == 0]
    if attention not in usable:
        raise UserError(
            f"{key}={attention}: no block makes a map of this side; choose one of {', '.join(map(str, usable)) or 'none'}"
        )
    return max(i for i, side in enumerate(sides) if side == attention)
