"""An upper bound on the slope of a discriminator, from the norms of its layers, and its largest slope between given images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sngan.data.batches import to_float
from sngan.layers.attention import SelfAttention
from sngan.layers.head import logits_of
from sngan.layers.map_sizes import Maps
from sngan.layers.normalized import Normalized
from sngan.layers.singular_values import largest_singular_value, operator_norm
from sngan.precision import precision
from sngan.sampling.fitting import batch_of, fitting

ACTIVATION_NORMS = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm
"""Layers that divide by a deviation of their input, so that their slope has no bound."""

MOST_LABELS = 10
"""The most labels with which a conditional discriminator is evaluated."""


def norm_on_maps(layer: nn.Module, weight: Tensor, maps: Maps | None) -> float | None:
    """An upper bound on the norm of the layer as a linear map, exact or nearly so; None for a kind of layer that is not known here.

    Exact for linear layers, embeddings, and convolutions with a single output position. For a zero-padded convolution it is the norm,
    found exactly, of the circular convolution on maps of side H + 2 padding, rounded up to a multiple of the stride: the zero-padded one
    is its restriction to inputs that are zero in the border and to some of the outputs, so its norm is at most that, and in practice a
    few per cent below. A transposed convolution has the norm of the convolution whose adjoint it is.
    """
    if isinstance(layer, nn.Linear | nn.Embedding):
        return operator_norm(layer, weight, (1, 1))
    module: Any = layer
    is_known = (
        isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        and (module.groups, module.dilation, module.padding_mode) == (1, (1, 1), "zeros")
        and module.stride[0] == module.stride[1]
        and not isinstance(module.padding, str)
    )
    if not is_known or maps is None:
        return None
    if maps.coarse == (1, 1):
        return largest_singular_value(weight.flatten(1))
    stride = module.stride[0]
    H, W = (-(-(side + 2 * padding) // stride) * stride for side, padding in zip(maps.fine, module.padding, strict=True))
    return operator_norm(layer, weight, (H, W))


def upper_bound(D: Normalized[nn.Module], norms: Mapping[str, float | None]) -> tuple[float | None, str | None]:
    """A number that |D(x) - D(x')| / |x - x'| never exceeds (Euclidean norm, one label), or None and the reason why there is none.

    `norms` are those of the layers as linear maps, by name; the network's method `bound` says how they compose.
    """
    network: Any = D.network
    norm = next((type(m).__name__ for m in network.modules() if isinstance(m, ACTIVATION_NORMS)), None)
    if norm:
        return None, f"{norm} divides activations by their own deviation, so its slope has no bound"
    if any(isinstance(m, SelfAttention) for m in network.modules()):
        return None, "self-attention weighs pixels by products of two of them, so its slope has no bound (Kim et al. 2021)"
    if not hasattr(network, "bound"):
        return None, f"{type(network).__name__} has no method bound(norms), which gives the bound from the norms of its layers"
    known = {name: norm for name, norm in norms.items() if norm is not None}
    if len(known) < len(norms):
        return None, f"no norm is known for {', '.join(name for name in norms if name not in known)}"
    return float(network.bound(known)), None


@torch.no_grad()
def logits(D: Normalized[nn.Module], pixels: Tensor, *, n_classes: int) -> Tensor:
    """D's logits float64 [K, N] on the CPU for images uint8 [N, C, H, W], a row for each of the first labels (K = 1 without classes).

    D runs as it is, on its own device, in float32 without TF32; the images are in [-1, 1] without noise.
    """
    device = next(D.parameters()).device
    rows = []
    with precision("fp32", device):
        weights = D.normalize(update=False)
        first = torch.zeros(1, dtype=torch.int64, device=device) if n_classes else None
        batch = batch_of(D.network, to_float(pixels[:1].to(device), None), first)
        for label in range(min(n_classes, MOST_LABELS)) if n_classes else [None]:
            parts = []
            for part in pixels.split(batch):
                y = None if label is None else torch.full((len(part),), label, device=device)
                parts.append(logits_of(D(to_float(part.to(device), None), y, weights=weights)).cpu())
            rows.append(torch.cat(parts))
    return torch.stack(rows).double()


def largest_slope(logits: Tensor, pixels: Tensor) -> float | None:
    """The largest |D(x) - D(x')| / |x - x'| over labels and pairs of different images; None where all images are the same.

    Logits [K, N] of images uint8 [N, C, H, W], both on the CPU. Distances are exact: their squares are integers, in grey levels.
    """
    slopes, are_different = [torch.zeros((), dtype=torch.float64)], False
    size = fitting(pixels[0].numel())
    for a in range(0, len(pixels), size):
        x, rows = pixels[a : a + size].flatten(1).double(), slice(a, a + size)
        for b in range(a, len(pixels), size):
            other, columns = pixels[b : b + size].flatten(1).double(), slice(b, b + size)
            squared = x.square().sum(1)[:, None] + other.square().sum(1) - 2 * x @ other.T  # [rows, columns]
            distances = torch.where(squared > 0, squared, torch.inf).sqrt() / 127.5
            are_different |= bool((squared > 0).any())
            slopes += [((row[rows, None] - row[columns]).abs() / distances).max() for row in logits]
    return float(torch.stack(slopes).max()) if are_different else None
