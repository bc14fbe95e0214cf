"""Every combination of choices builds and trains a step, or is refused with its reason."""

from __future__ import annotations

import itertools
import random
import re
import warnings
from collections import Counter
from collections.abc import Sequence

import torch
from composer import Composer

from sngan import Config, UserError, build
from sngan.data.images import ImageSpec
from sngan.networks import build_networks
from sngan.precision import precision
from sngan.state import initial_state
from sngan.training.combinations import check_combination
from sngan.training.step import Game, Inputs, train_step

N, K = 4, 3
CPU = torch.device("cpu")

BASE = ["device=cpu", f"batch={N}", f"g_batch={N}", "d_steps=1", "optimizer.decay=none"]

IMAGES = {
    "32 px, 3 channels": (32, 3),
    "28 px, 1 channel": (28, 1),
    "16 px, 4 channels": (16, 4),
    "24 x 32 px, 3 channels": ((24, 32), 3),
}

AXES: dict[str, list[list[str]]] = {
    "generator": [
        ["generator=cnn", "generator.widths=[8,6,4]", "generator.z_dim=12"],
        ["generator=cnn", "generator.widths=[8,4]", "generator.z_dim=12", "generator.first_norm=feature"],
        ["generator=resnet", "generator.widths=[8,6,4]", "generator.z_dim=12"],
        ["generator=resnet", "generator.widths=[8,6,4]", "generator.z_dim=12", "generator.upsampling=bilinear"],
        ["generator=resnet", "generator.widths=[8,6,4]", "generator.z_dim=12", "generator.attention=16"],
        ["generator=biggan", "generator.widths=[8,6,4]", "generator.z_dim=12", "generator.shared_dim=4", "generator.normalization=none"],
    ],
    "discriminator": [
        ["discriminator=cnn", "discriminator.widths=[4,6,6]"],
        ["discriminator=dcgan", "discriminator.width=4"],
        ["discriminator=resnet", "discriminator.widths=[4,6]", "discriminator.downsample=[true,false]"],
        ["discriminator=resnet", "discriminator.widths=[4,6]", "discriminator.downsample=[true,true]", "discriminator.shortcut=relu"],
        ["discriminator=biggan", "discriminator.widths=[4,6]", "discriminator.downsample=[true,false]", "discriminator.attention=16"],
    ],
    "images": [[size] for size in IMAGES],
    "labels": [
        ["conditional=false"],
        *(["conditional=true", f"discriminator.labels={how}"] for how in ("projection", "concat", "auxiliary")),
    ],
    "loss": [
        *([f"loss={name}"] for name in ("hinge", "bce", "wasserstein", "least_squares", "relativistic_pair", "relativistic_average")),
        ["loss=bce", "loss.saturating=true"],
    ],
    "regularizer": [
        [f"regularizer={name}"]
        for name in ("none", "gradient_penalty", "r1", "r2", "r1_r2", "lecam", "orthonormal", "spectral_regularization")
    ],
    "D norm": [
        *([f"discriminator.normalization={name}"] for name in ("spectral", "weight", "bjorck", "batch", "layer", "instance", "group", "none")),
        ["discriminator.normalization=spectral", "discriminator.scale=learned", "discriminator.power_iterations=2"],
        ["discriminator.normalization=spectral", "discriminator.norm_of=map"],
        ["discriminator.normalization=spectral", "discriminator.iterate_per=forward"],
        ["discriminator.normalization=weight", "discriminator.scale=learned"],
    ],
    "G norm": [
        *([f"generator.normalization={name}"] for name in ("none", "spectral", "weight", "bjorck")),
        ["generator.normalization=spectral", "generator.norm_of=map", "generator.scale=learned"],
        ["generator.normalization=spectral", "generator.iterate_per=forward"],
        ["generator.normalization=none", "g_orthogonal=0.1"],
    ],
    "weight_clip": [["weight_clip=null"], ["weight_clip=0.02"]],
    "accumulate": [["accumulate=1"], ["accumulate=2"]],
    "precision": [["precision=fp32"], ["precision=bf16"]],
}  # fmt: skip
"""What a user chooses for a step, as overrides, but for the images."""

Choice = tuple[int, ...]
"""The number of the choice on each axis."""


class Games:
    """The games of the product."""

    def __init__(self) -> None:
        chosen = (choice for axis, choices in AXES.items() for choice in choices if axis != "images")
        self.composer = Composer(BASE, chosen)
        self.still = Counter(G=0, D=0)

    def config(self, choice: Choice) -> tuple[Config, ImageSpec]:
        """The config of a game, and its images."""
        parts = {axis: AXES[axis][i] for axis, i in zip(AXES, choice, strict=True)}
        resolution, channels = IMAGES[parts.pop("images")[0]]
        config = self.composer(parts.values())
        return config, ImageSpec(resolution, channels, K if config.conditional else 0)

    def may_train(self, choice: Choice) -> bool:
        """Whether the parts of the game make sense together, as far as that is known without its networks."""
        try:
            check_combination(self.config(choice)[0])
        except UserError:
            return False
        return True

    def play(self, choice: Choice) -> str | None:
        """Trains a step; the reason if the game is refused. Raises what is neither: another error, a warning, a number that is not finite,
        a reason of more than two lines. Counts games that leave a network as it was: their loss is flat."""
        try:
            config, spec = self.config(choice)
            check_combination(config)
            G, D = build_networks(config, spec)
        except UserError as error:
            reason = str(error)
            assert 1 <= len(reason.splitlines()) <= 2, reason
            return reason
        state = initial_state(config, G, D, CPU)
        before = {name: p.detach().clone() for network in (G, D) for name, p in network.named_parameters(prefix=str(network is D))}
        game = Game(
            loss=build("loss", config.loss),
            regularizer=build("regularizer", config.regularizer),
            weight_clip=config.weight_clip,
            ema_decay=0.9,
            g_orthogonal=config.g_orthogonal,
            accumulate=config.accumulate,
        )
        with warnings.catch_warnings(), precision(config.precision, CPU):
            warnings.simplefilter("error")
            stats = train_step(state, game, _inputs(config, spec, state.G.network.z_dim))
        assert all(torch.isfinite(value) for value in stats.values()), stats
        broken = state.not_finite()
        assert broken is None, broken
        for role, network in (("G", G), ("D", D)):
            names = dict(network.named_parameters(prefix=str(network is D)))
            self.still[role] += all(torch.equal(before[name], p) for name, p in names.items())
        return None


def _inputs(config: Config, spec: ImageSpec, z_dim: int) -> Inputs:
    numbers = torch.Generator().manual_seed(0)
    real = torch.rand(1, N, *spec.shape, generator=numbers) * 2 - 1
    z_D, z_G = torch.randn(1, N, z_dim, generator=numbers), torch.randn(N, z_dim, generator=numbers)
    y = torch.arange(N) % K if spec.n_classes else None
    ys = None if y is None else y[None]
    relativistic = config.loss.name.startswith("relativistic")
    extra = (real[0], y) if relativistic else (None, None)
    return Inputs(real, ys, z_D, ys, torch.rand(1, N, generator=numbers), z_G, y, *extra)


def drawn(numbers: random.Random) -> Choice:
    """A game of chance."""
    return tuple(numbers.randrange(len(choices)) for choices in AXES.values())


def pairs(choice: Choice) -> set[tuple[tuple[int, int], ...]]:
    """Every two choices of a game, each as (axis, number)."""
    return set(itertools.combinations(enumerate(choice), 2))


def pairwise_cover(games: Games) -> list[Choice]:
    """Games in which every two choices of different axes meet, and train if any of 60 games with the two may; always the same ones."""
    places = [(axis, i) for axis, choices in enumerate(AXES.values()) for i in range(len(choices))]
    left = {pair for pair in itertools.combinations(places, 2) if pair[0][0] != pair[1][0]}
    numbers = random.Random(0)
    cover: list[Choice] = []
    while left:
        first = dict(min(left))
        tries = [tuple(first.get(axis, i) for axis, i in enumerate(drawn(numbers))) for _ in range(60)]
        tries.sort(key=lambda choice: len(pairs(choice) & left), reverse=True)
        trains = next((choice for choice in tries if games.may_train(choice)), None)
        cover.append(trains or tries[0])
        left -= pairs(trains) if trains else {min(left)}
    return cover


def kind_of(reason: str) -> str:
    """A reason without what differs from game to game."""
    return re.sub(r"\d+", "N", re.sub(r"\[[^\]]*\]", "[…]", reason))


def words(choice: Choice) -> Sequence[str]:
    """A game as overrides, and its images."""
    return [word for choices, i in zip(AXES.values(), choice, strict=True) for word in choices[i]]
