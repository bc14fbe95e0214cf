"""What every discriminator that ships does with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.layers.head import Conv2dHead, LinearHead, full_precision
from sngan.layers.lookup import ClassEmbedding, is_class

Labels = Literal["projection", "concat", "auxiliary"]


class Discriminator(nn.Module):
    """Maps images x [N, C, H, W], and labels y int64 [N] if `n_classes` > 0, to logits [N]. `labels` says what y is for:

    projection   <embedding(y), h> is added to the logit, for features h (Miyato & Koyama 2018)
    concat       y is shown beside the image, as `n_classes` further channels that are 1 for its class and else 0 (Mirza & Osindero 2014)
    auxiliary    a classifier of the features h: the output is [N, 2], the logit and -log p(y | x) (AC-GAN, Odena et al. 2017)
    """

    def __init__(self, spec: ImageSpec, labels: Labels):
        super().__init__()
        self.n_classes, self.labels = spec.n_classes, labels
        self.channels = spec.channels + (spec.n_classes if labels == "concat" else 0)

    def add_label_layers(self, features: int) -> None:
        """What the labels need beside the layers of an unconditional network, for features h [N, features]."""
        if self.n_classes and self.labels == "projection":
            self.embedding = ClassEmbedding(self.n_classes, features)
        if self.n_classes and self.labels == "auxiliary":
            self.classifier = LinearHead(features, self.n_classes)

    def shown(self, x: Tensor, y: Tensor | None) -> Tensor:
        """What the first layer sees: [N, `channels`, H, W]."""
        assert (y is not None) == (self.n_classes > 0), "labels are for conditional discriminators, and they need them"
        if y is None or self.labels != "concat":
            return x
        maps = is_class(y, self.n_classes).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])  # [N, K, H, W]
        return torch.cat([x, maps], dim=1)

    def judged(self, logits: Tensor, h: Tensor, y: Tensor | None) -> Tensor:
        """The output, from the logits [N] of the features h [N, C] alone."""
        if y is None or self.labels == "concat":
            return logits
        if self.labels == "projection":
            inner: Tensor = (self.embedding(y) * h.to(full_precision(h.dtype))).sum(1)
            return logits + inner
        return torch.stack([logits, F.cross_entropy(self.classifier(h), y, reduction="none")], dim=1)


def convolutions(layers: Iterable[nn.Module]) -> list[nn.Sequential]:
    """The layers of a CNN in groups, each a convolution and what follows it; without a head."""
    groups: list[nn.Sequential] = []
    for layer in layers:
        if isinstance(layer, Conv2dHead):
            break
        if isinstance(layer, nn.Conv2d):
            groups.append(nn.Sequential())
        groups[-1].append(layer)
    return groups


def freeze(D: nn.Module, n: int) -> None:
    """Freezes the parameters of the n blocks of D that are nearest to the image (FreezeD, Mo et al. 2020); a weight norm goes on with them.

    Raises `UserError` if D has fewer blocks, or does not say which they are.
    """
    if not n:
        return
    lowest_blocks: Callable[[], Sequence[nn.Module]] | None = getattr(D, "lowest_blocks", None)
    if lowest_blocks is None:
        raise UserError(
            f"freeze_d={n}: {type(D).__name__} has no method lowest_blocks, which lists its blocks; add it, or use freeze_d=0"
        )
    blocks = lowest_blocks()
    if n > len(blocks):
        raise UserError(
            f"freeze_d={n}: this discriminator has {len(blocks)} blocks before its head; use freeze_d={len(blocks)} or less"
        )
    for block in blocks[:n]:
        block.requires_grad_(False)
