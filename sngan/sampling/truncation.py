"""Truncated latents (Brock et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor


def truncated(z: Tensor, psi: float) -> Tensor:
    """Latents N(0, I) as latents of the normal distribution truncated to [-psi, psi] in each component.

    Brock et al. 2019 (BigGAN, section 3.1) resample a component while it is outside. Here the same distribution comes from the
    component itself, which is mapped from quantile to quantile: no number is sampled, and the image changes gradually with psi. A smaller
    psi gives less variety. To scale by psi, as StyleGAN does with w, would give a narrower normal distribution instead.
    """
    z, limit = z.double(), torch.tensor(psi, dtype=torch.float64)
    below = torch.special.ndtr(-limit)
    inside: Tensor = torch.special.ndtri(below + (1.0 - 2.0 * below) * torch.special.ndtr(z))
    return inside.clamp(-limit, limit).float()
