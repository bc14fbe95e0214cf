from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sngan import Config
from sngan.data.images import ImageSpec
from sngan.generators.generator import Generator
from sngan.networks import build_networks
from sngan.sampling.sampling import balanced_labels, latents, prepared, recalibrated, samples


@pytest.fixture
def G(tiny: Callable[..., Config]) -> Generator:
    return build_networks(tiny(), ImageSpec(32, 3, 0))[0].network


def test_the_first_latents_of_many_are_those_of_few() -> None:
    assert torch.equal(latents(2500, 8, seed=3)[:7], latents(7, 8, seed=3))


def test_latents_are_standard_normal_and_differ_between_seeds() -> None:
    z = latents(20_000, 4, seed=0)
    assert z.mean().abs() < 0.02
    assert z.std().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(z[:10], latents(10, 4, seed=1))
    assert not torch.equal(z[:1000], z[1000:2000])


def test_labels_are_balanced() -> None:
    y = balanced_labels(100, 10)
    assert y is not None
    assert y.bincount().tolist() == [10] * 10
    assert balanced_labels(100, 0) is None


def test_batch_size_does_not_change_the_images(G: Generator) -> None:
    z = latents(20, G.z_dim, seed=0)
    G.eval()
    few, many = (torch.cat(list(samples(G, z, None, rounding="nearest", batch=batch))).int() for batch in (3, 20))
    assert (few - many).abs().max() <= 1


def test_recalibration_measures_the_statistics_of_the_samples(G: Generator) -> None:
    """The first batch norm's input statistics over all batches: the mean of the batches' means."""
    seen = []
    norm = G.deconvs[1]
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    measured = recalibrated(G, batches=3, batch=16, seed=5)
    hook.remove()
    # the hook was copied with the network, and saw the copy's passes
    means = torch.stack([h.mean((0, 2, 3)) for h in seen])
    torch.testing.assert_close(measured.deconvs[1].running_mean, means.mean(0), rtol=1e-4, atol=1e-6)


def test_recalibration_makes_a_difference_and_leaves_the_original_alone(G: Generator) -> None:
    before = {name: value.clone() for name, value in G.state_dict().items()}
    training = G.training
    measured = recalibrated(G, batches=2, batch=16, seed=5)
    assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())
    assert G.training == training
    assert not measured.training
    z = latents(4, G.z_dim, seed=0)
    assert not torch.equal(measured(z), G.eval()(z))


def test_recalibration_is_repeatable(G: Generator) -> None:
    first, second = (recalibrated(G, batches=2, batch=16, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_raw_weights_keep_their_running_statistics(G: Generator, tiny: Callable[..., Config]) -> None:
    same, said = prepared(G, tiny(), "raw")
    assert same is G
    assert said == "running statistics"
    other, said = prepared(G, tiny(), "ema")
    assert other is not G
    assert said == "recalibrated over 2 batches of 8"
