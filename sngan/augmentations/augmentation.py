"""What an augmentation is: a differentiable change of every image that D sees, real and generated, in both updates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sngan.layers.normalized import Normalized
from sngan.regularizers.regularizer import Logits

P, SIGNS, UPDATES = "augment_p", "augment_signs", "augment_updates"
BUFFERS = (P, SIGNS, UPDATES)
"""What an adaptive augmentation keeps in D, and so in its checkpoints: the present p; the sum of mean signs, and the updates, since p moved."""


class Augmentation:
    """Called as `augment(D, x, u)`, it gives images x [N, C, H, W] as D is to see them; u are `numbers` uniform numbers in [0, 1) an image.

    It is a function of x and u, differentiable twice by x.
    """

    numbers: int

    def prepare(self, D: Normalized[nn.Module]) -> None:
        """Adds to D, once, the buffers that the augmentation keeps in it."""

    def __call__(self, D: Normalized[nn.Module], x: Tensor, u: Tensor) -> Tensor:
        raise NotImplementedError

    def statistics(self, D: Normalized[nn.Module], logits: Logits) -> dict[str, Tensor]:
        """What is to be averaged over micro-batches and ranks, and logged: scalars by name."""
        return {}

    def updated(self, D: Normalized[nn.Module], stats: dict[str, Tensor]) -> None:
        """Called after each discriminator update with its statistics, means over the whole batch of all ranks; may change its own buffers."""


def gathered(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """The pixels [N, C, H, W] of x at whole positions, int64 [N, H, W] each, which lie in the image."""
    if x.device.type != "cpu":
        return indexed(x, row, column)
    index = (row * x.shape[3] + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)  # [N, C, H * W]
    return x.flatten(2).gather(2, index).view_as(x)


def indexed(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """The same by indexing: on a GPU the gradient of a gather is added up in whatever order the threads come. On a CPU it takes longer."""
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return x[image, :, row, column].permute(0, 3, 1, 2)


def whole(u: Tensor, low: int, high: int) -> Tensor:
    """Uniform whole numbers from `low` to `high`, both among them, from u uniform in [0, 1)."""
    return (low + (u * (high - low + 1)).floor()).clamp(max=high)


def wide(t: Tensor) -> Tensor:
    """[N] -> [N, 1, 1, 1]."""
    return t[:, None, None, None]


def with_colour(x: Tensor, coloured: Tensor) -> Tensor:
    """x with other colours: a fourth channel is transparency and stays."""
    return torch.cat([coloured, x[:, 3:]], dim=1) if x.shape[1] == 4 else coloured


def colour(x: Tensor) -> Tensor:
    """The channels that are colour or grey."""
    return x[:, :3] if x.shape[1] == 4 else x
