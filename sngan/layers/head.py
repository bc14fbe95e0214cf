"""The layer that makes a logit, in float32 also under autocast: bfloat16 keeps eight bits, too few for what losses compare."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def full_precision(dtype: torch.dtype) -> torch.dtype:
    """float32 in place of a smaller type; float64 stays."""
    return torch.promote_types(dtype, torch.float32)


def logits_of(output: Tensor) -> Tensor:
    """The logits [N] in an output of D, which is those alone, or [N, 2] with an auxiliary classifier."""
    return output if output.dim() == 1 else output[:, 0]


def label_loss(*outputs: Tensor) -> Tensor | None:
    """The means of -log p(y | x) in outputs of D with an auxiliary classifier, added up; None without one."""
    return None if outputs[0].dim() == 1 else torch.stack([output[:, 1].mean() for output in outputs]).sum()


class _Head(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            logits: Tensor = super().forward(h.to(full_precision(h.dtype)))
        return logits


class LinearHead(_Head, nn.Linear):
    """[N, C] -> [N, C_out]."""


class Conv2dHead(_Head, nn.Conv2d):
    """[N, C, H, W] -> [N, C_out, H', W']."""
