"""Paths through the space of latents."""

from __future__ import annotations

import torch
from torch import Tensor


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points [T, Z] on the path from a latent a [Z] to b [Z], at t [T] in [0, 1].

    The direction turns on a great circle at constant angular speed (Shoemake 1985), while the norm goes linearly from |a| to |b|. Latents
    N(0, I) lie near the sphere of radius sqrt(Z), which a straight line between them would leave (White 2016, arXiv 1609.04468).
    Opposite latents, which no shortest arc joins, are joined through the origin.
    """
    start, end, t = a.double(), b.double(), t.double()[:, None]  # [Z], [Z], [T, 1]
    u, v = start / start.norm(), end / end.norm()
    across = v - (u @ v) * u
    angle = torch.atan2(across.norm(), u @ v)
    across = across / across.norm().clamp_min(torch.finfo(torch.float64).tiny)
    direction = torch.cos(t * angle) * u + torch.sin(t * angle) * across  # [T, Z]
    norm = (1.0 - t) * start.norm() + t * end.norm()  # [T, 1]
    points: Tensor = norm * direction
    return points.to(a.dtype)


def loop(keys: Tensor, frames: int) -> Tensor:
    """A closed path [K * frames, Z] through latents `keys` [K, Z]: point k * frames is key k, and after the last key it returns to the first."""
    t = torch.arange(frames) / frames
    return torch.cat([slerp(a, b, t) for a, b in zip(keys, keys.roll(-1, dims=0), strict=True)])
