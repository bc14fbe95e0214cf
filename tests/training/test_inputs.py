"""What a step is given, as a function of (seed, rank, step); of several ranks test_distributed.py asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sngan import Config, build
from sngan.data.batches import Batches
from sngan.data.images import game_spec
from sngan.networks import build_networks
from sngan.randomness import INTERPOLATE, LABEL, LATENT, generator
from sngan.training.inputs import InputStream

CPU = torch.device("cpu")
Tiny = Callable[..., Config]

CONDITIONAL = [
    "conditional=true", "generator=resnet", "generator.widths=[8,8,8,8]", "discriminator=resnet",
    "discriminator.widths=[8,8]", "discriminator.downsample=[true,true]",
]  # fmt: skip
SIZES = ["batch=8", "g_batch=6", "d_steps=3"]


def stream(tiny: Tiny, *overrides: str, real_for_G: bool = False) -> InputStream:
    config = tiny(*SIZES, *overrides)
    source = build("data", config.data)
    spec = game_spec(source.spec, conditional=config.conditional)
    batches = Batches(
        source.load("train"), spec, batch=config.batch, d_steps=config.d_steps, seed=config.seed, data=config.data, device=CPU
    )
    return InputStream(config, build_networks(config, spec)[0].network, batches, CPU, real_for_G=real_for_G)


def test_a_step_is_given_numbers_for_each_update(tiny: Tiny) -> None:
    given = stream(tiny, *CONDITIONAL)(0)
    assert (given.x_real.shape, given.y_real.shape) == ((3, 8, 3, 32, 32), (3, 8))
    assert (given.z_D.shape, given.y_D.shape, given.epsilon.shape) == ((3, 8, 128), (3, 8), (3, 8))
    assert (given.z_G.shape, given.y_G.shape) == ((6, 128), (6,))


def test_an_unconditional_game_has_no_labels(tiny: Tiny) -> None:
    given = stream(tiny)(0)
    assert given.y_real is given.y_D is given.y_G is None


def test_G_is_given_the_last_real_images_of_the_step_where_its_loss_sees_them(tiny: Tiny) -> None:
    without, given = stream(tiny, *CONDITIONAL)(4), stream(tiny, *CONDITIONAL, real_for_G=True)(4)
    assert without.x_real_G is without.y_real_G is None
    assert torch.equal(given.x_real_G, given.x_real[2, 2:])
    assert torch.equal(given.y_real_G, given.y_real[2, 2:])
    for name, value in without._asdict().items():
        assert value is None or torch.equal(value, getattr(given, name)), name


def test_no_latent_is_given_twice(tiny: Tiny) -> None:
    inputs = stream(tiny)
    rows = [row for step in range(3) for z in (inputs(step).z_D.flatten(0, 1), inputs(step).z_G) for row in z]
    assert len({tuple(row.tolist()) for row in rows}) == 3 * (3 * 8 + 6)


@pytest.mark.parametrize("seed", [0, 5])
def test_every_number_comes_from_its_own_stream_of_seed_and_step(tiny: Tiny, seed: int) -> None:
    """Old runs could not be repeated, or go on, if one of them came from elsewhere."""
    inputs = stream(tiny, *CONDITIONAL, f"seed={seed}")
    for step in (0, 7):
        given = inputs(step)

        def key(number: int, step: int = step) -> torch.Generator:
            return generator(CPU, seed, number, 0, step)

        z, y = torch.randn(30, 128, generator=key(LATENT)), torch.randint(10, (30,), generator=key(LABEL))
        assert torch.equal(torch.cat([given.z_D.flatten(0, 1), given.z_G]), z)
        assert torch.equal(torch.cat([given.y_D.flatten(), given.y_G]), y)
        assert torch.equal(given.epsilon, torch.rand(3, 8, generator=key(INTERPOLATE)))


def test_latents_are_normal_and_epsilons_and_labels_uniform(tiny: Tiny) -> None:
    inputs = stream(tiny, *CONDITIONAL)
    given = [inputs(step) for step in range(40)]
    z, epsilon = torch.cat([g.z_D.flatten() for g in given]), torch.cat([g.epsilon.flatten() for g in given])
    assert_moments(z, mean=0.0, deviation=1.0)
    assert_moments(epsilon, mean=0.5, deviation=12**-0.5)
    assert 0.0 <= epsilon.min() < 0.02
    assert 0.98 < epsilon.max() < 1.0
    for y in (torch.cat([g.y_D.flatten() for g in given]), torch.cat([g.y_G for g in given])):
        assert y.bincount(minlength=10).min() > 0.06 * len(y)
        assert y.max() == 9


def assert_moments(x: Tensor, *, mean: float, deviation: float) -> None:
    """Within four deviations of what so many numbers give."""
    assert x.mean().item() == pytest.approx(mean, abs=4 * deviation / len(x) ** 0.5)
    assert x.std().item() == pytest.approx(deviation, rel=4 / len(x) ** 0.5)
