from __future__ import annotations

import pytest
import torch

from sngan.sampling.sampling import latents
from sngan.sampling.truncation import truncated


@pytest.mark.parametrize("psi", [0.04, 0.5, 1.0, 2.0])
def test_truncated_latents_are_distributed_as_if_drawn_anew_until_inside(psi: float) -> None:
    z = latents(4000, 50, seed=0).flatten()  # 200,000 components
    ours = truncated(z, psi)
    assert ours.abs().max() <= psi
    inside = latents(40_000, 100, seed=1).flatten()
    inside = inside[inside.abs() <= psi]
    p = torch.linspace(0.01, 0.99, 99)
    found, expected = (torch.quantile(values[:200_000], p) for values in (ours, inside))
    torch.testing.assert_close(found, expected, atol=0.02 * psi, rtol=0)


def test_truncation_keeps_order_and_sign() -> None:
    z = torch.linspace(-6, 6, 1001)
    ours = truncated(z, 1.5)
    assert (ours.diff() >= 0).all()
    torch.testing.assert_close(ours, -truncated(-z, 1.5))


def test_truncation_at_0_leaves_one_latent_and_far_out_changes_nothing() -> None:
    z = latents(100, 64, seed=0)
    assert truncated(z, 0.0).abs().max() == 0
    torch.testing.assert_close(truncated(z, 10.0), z)


def test_a_smaller_psi_gives_smaller_latents() -> None:
    z = latents(100, 64, seed=0)
    assert (truncated(z, 0.5).abs() < truncated(z, 1.0).abs()).all()
    assert (truncated(z, 1.0).abs() < z.abs()).all()
