from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sngan.sampling.interpolation import loop, slerp
from sngan.sampling.sampling import latents

DIMENSIONS = (2, 3, 16, 128)


def two(z_dim: int) -> tuple[Tensor, Tensor]:
    a, b = latents(2, z_dim, seed=z_dim).double()
    return a, b


def turns(way: Tensor) -> Tensor:
    """The angle between each point and the next."""
    u = way.double() / way.double().norm(dim=1, keepdim=True)
    return 2.0 * torch.asin((u[1:] - u[:-1]).norm(dim=1) / 2.0)  # exact for small angles, where arccos is not


@pytest.mark.parametrize("z_dim", DIMENSIONS)
def test_ends_are_the_two_latents(z_dim: int) -> None:
    a, b = two(z_dim)
    torch.testing.assert_close(slerp(a, b, torch.tensor([0.0, 1.0])), torch.stack([a, b]))


@pytest.mark.parametrize("z_dim", DIMENSIONS)
def test_norms_go_linearly_from_one_to_the_other(z_dim: int) -> None:
    a, b = two(z_dim)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(slerp(a, b, t).norm(dim=1), (1 - t) * a.norm() + t * b.norm())


@pytest.mark.parametrize("z_dim", DIMENSIONS)
def test_the_direction_turns_at_constant_speed_by_the_shortest_arc(z_dim: int) -> None:
    a, b = two(z_dim)
    steps = turns(slerp(a, b, torch.linspace(0, 1, 33, dtype=torch.float64)))
    angle = math.acos(float(a @ b / (a.norm() * b.norm())))
    torch.testing.assert_close(steps, torch.full_like(steps, angle / 32), rtol=1e-6, atol=1e-9)


def test_all_points_lie_in_the_plane_of_the_two_latents() -> None:
    a, b = two(16)
    way = slerp(a, b, torch.linspace(0, 1, 9))
    assert torch.linalg.matrix_rank(torch.cat([way, a[None], b[None]]), atol=1e-9) == 2


def test_the_way_back_is_the_same_way() -> None:
    a, b = two(16)
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    torch.testing.assert_close(slerp(a, b, t), slerp(b, a, 1 - t))


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0])
@pytest.mark.parametrize("z_dim", [1, 8])
def test_latents_on_one_line_are_joined_without_nan(factor: float, z_dim: int) -> None:
    a = latents(1, z_dim, seed=0)[0]
    way = slerp(a, factor * a, torch.linspace(0, 1, 5))
    assert way.isfinite().all()
    torch.testing.assert_close(way[[0, -1]], torch.stack([a, factor * a]))


def test_nearly_equal_latents_lose_no_precision() -> None:
    a, b = two(64)
    near = a + 1e-7 * b
    steps = turns(slerp(a, near, torch.linspace(0, 1, 5, dtype=torch.float64)))
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-4, atol=0)


def test_a_loop_passes_its_keys_at_equal_intervals() -> None:
    keys = latents(5, 32, seed=1)
    way = loop(keys, 7)
    assert way.shape == (35, 32)
    torch.testing.assert_close(way[::7], keys)


def test_a_loop_is_closed() -> None:
    keys = latents(5, 32, seed=1)
    way = loop(keys, 8)
    last_leg = turns(torch.cat([way[-8:], way[:1]]))  # over the seam, back to the first point
    torch.testing.assert_close(last_leg, last_leg[:1].expand(8), rtol=1e-4, atol=0)


def test_a_loop_through_few_keys_begins_like_one_through_many() -> None:
    keys = latents(6, 32, seed=1)
    assert torch.equal(loop(keys, 4)[: 4 * 3], loop(keys[:4], 4)[: 4 * 3])
