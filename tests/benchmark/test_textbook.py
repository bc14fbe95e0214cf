"""The textbook's loop trains the same networks in the same way, so that a ratio to it is fair."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sngan import Config, build
from sngan.benchmark.textbook import LoaderInputs, TextbookStep, with_torch_spectral_norm
from sngan.data.images import ImageSpec, TensorImages
from sngan.layers.normalized import Normalized
from sngan.networks import build_networks
from sngan.state import TrainState, initial_state
from sngan.training.step import Game, Inputs, train_step

CPU = torch.device("cpu")
SPEC = ImageSpec(32, 3, 0)


def state_and_game(config: Config) -> tuple[TrainState, Game]:
    G, D = build_networks(config, SPEC)
    state = initial_state(config, G.double(), D.double(), CPU)
    return state, Game(build("loss", config.loss), None, None, config.ema.decay)


def inputs(d_steps: int) -> Inputs:
    numbers = {"dtype": torch.float64}
    x_real, z_D, epsilon = (
        torch.rand(d_steps, 4, 3, 32, 32, **numbers),
        torch.randn(d_steps, 4, 128, **numbers),
        torch.rand(d_steps, 4),
    )
    return Inputs(x_real * 2 - 1, None, z_D, None, epsilon, torch.randn(6, 128, **numbers), None)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("one_forward", [True, False])
def test_each_technique_leaves_the_step_what_it_is(
    tiny: Callable[..., Config], one_forward: bool, frozen: bool, grouped: bool
) -> None:
    config, data = tiny("d_steps=3"), [inputs(3) for _ in range(2)]
    expected, game = state_and_game(config)
    written, _ = state_and_game(config)
    step = TextbookStep(written, game, one_forward=one_forward, frozen=frozen, grouped=grouped)
    for numbers in data:
        train_step(expected, game, numbers)
        step(numbers)
    for name, network in expected.networks().items():
        other = written.networks()[name].state_dict()
        for key, value in network.state_dict().items():
            if value.dim() > 1:  # a bias before a batch norm has no gradient but rounding, of which Adam makes whole steps
                torch.testing.assert_close(value, other[key], rtol=1e-8, atol=1e-10)


def test_torch_spectral_norm_is_on_every_layer_and_starts_as_ours(tiny: Callable[..., Config]) -> None:
    _, D = build_networks(tiny(), SPEC)
    plain = build_networks(tiny("discriminator.normalization=none"), SPEC)[1].network
    theirs = Normalized(with_torch_spectral_norm(copy.deepcopy(plain))).eval()
    for layer in theirs.network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            for _ in range(100):  # their u and v start at 15 iterations
                layer.train().weight  # noqa: B018
            layer.eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(theirs(x), D.eval()(x), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("n_classes", [0, 10])
def test_the_loader_gives_the_images_of_the_data_set_in_a_step_s_shape(tiny: Callable[..., Config], n_classes: int) -> None:
    config = tiny("data.workers=0", "d_steps=2") if not n_classes else tiny(
        "data.workers=0", "d_steps=2", "conditional=true", "generator=resnet", "generator.widths=[8,8]", "discriminator=resnet"
    )  # fmt: skip
    pixels = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8)
    G = build("generator", config.generator, ImageSpec(32, 3, n_classes))
    given = LoaderInputs(config, TensorImages(pixels, torch.arange(16) % 10), G, CPU)()
    assert given.x_real.shape == (2, 8, 3, 32, 32)
    assert (given.y_real is not None) == (n_classes > 0)
    expected: Tensor = (pixels.float() / 127.5 - 1).flatten(1)
    distances = torch.cdist(given.x_real.flatten(0, 1).flatten(1), expected)
    assert sorted(distances.argmin(1).tolist()) == list(range(16)), "an epoch has each image once"
    assert distances.min(1).values.max() < 1e-3
