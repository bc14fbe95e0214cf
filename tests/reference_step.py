"""A training step as a textbook writes it, and how far the product's updates are from it.

It shares nothing with the product's step: float64 and contiguous memory, `backward()` of each formula, plain Adam, D on real and on
generated images apart, spectral and weight norm layer by layer from the paper's equations, resampling as two operations. Only the plain
networks, with their initial weights and the first u of each layer, are taken from the product.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sngan import Config, build
from sngan.config import Network
from sngan.data.images import ImageSpec
from sngan.layers.resampling import Resampling3x3
from sngan.networks import build_networks
from sngan.state import TrainState, initial_state
from sngan.training.step import Game, Inputs

STEPS = 3
N, M, D_STEPS, K = 4, 6, 2, 3
"""Images of an update of D, latents of one of G, updates of D a step, classes."""

# What can be asked for


AXES: dict[str, list[list[str]]] = {
    "discriminator": [
        ["discriminator=cnn", "discriminator.widths=[4,6,8,6,4]"],
        ["discriminator=cnn_author", "discriminator.widths=[4,6,6]"],
        ["discriminator=dcgan", "discriminator.width=4"],
        ["discriminator=resnet", "discriminator.widths=[4,6,6]", "discriminator.downsample=[true,true,false]"],
        ["discriminator=resnet", "discriminator.widths=[6,4]", "discriminator.downsample=[true,false]", "discriminator.hidden=output",
         "discriminator.head_bias=true"],
    ],
    "generator": [
        ["generator=cnn", "generator.widths=[8,6,4,4]"],
        ["generator=cnn", "generator.widths=[6,4]", "generator.first_norm=feature"],
        ["generator=cnn_small", "generator.widths=[8,4]", "generator.first_norm=channel"],
        ["generator=resnet", "generator.widths=[8,6,4,4]"],
    ],
    "conditional": [["conditional=false"], ["conditional=true"]],
    "loss": [["loss=hinge"], ["loss=bce"], ["loss=bce", "loss.saturating=true"], ["loss=wasserstein"]],
    "regularizer": [
        [f"regularizer={name}"] for name in ("none", "gradient_penalty", "r1", "orthonormal", "spectral_regularization")
    ],
    "D norm": [
        ["discriminator.normalization=spectral"],
        ["discriminator.normalization=spectral", "discriminator.scale=learned"],
        ["discriminator.normalization=spectral", "discriminator.scale=1.5", "discriminator.power_iterations=2"],
        ["discriminator.normalization=spectral", "discriminator.iterate_per=forward"],
        ["discriminator.normalization=spectral", "discriminator.iterate_per=forward", "discriminator.scale=learned"],
        ["discriminator.normalization=spectral", "discriminator.exclude=[*s.0*]"],
        ["discriminator.normalization=weight"],
        ["discriminator.normalization=weight", "discriminator.scale=learned"],
        *([f"discriminator.normalization={name}"] for name in ("batch", "layer", "instance", "group", "none")),
    ],
    "weight_clip": [["weight_clip=null"], ["weight_clip=0.02"]],
    "G norm": [
        ["generator.normalization=none"],
        ["generator.normalization=spectral"],
        ["generator.normalization=spectral", "generator.iterate_per=forward", "generator.scale=learned"],
        ["generator.normalization=weight", "generator.scale=2.0"],
    ],
}  # fmt: skip
"""Each choice that decides what a step computes, as overrides; a row of `constraint` is a point of this product."""

VARIANTS = {"discriminator=cnn_author", "discriminator.hidden=output", "generator.first_norm=feature", "generator=cnn_small"}
"""Second forms of a network that the whole product leaves to the pairwise cover."""

ASIDE = [
    "device=cpu",
    f"batch={N}",
    f"g_batch={M}",
    f"d_steps={D_STEPS}",
    "generator.z_dim=8",
    "optimizer.decay=none",
    "ema.decay=0.9",
]
"""What all games here have in common."""


def every_game() -> Iterator[tuple[list[str], ...]]:
    """The product of the axes, with one network of each name, that is not refused: a choice of each axis."""
    for choices in itertools.product(*AXES.values()):
        words = flat(choices)
        if not VARIANTS & set(words) and not is_refused(words):
            yield choices


def flat(choices: Iterable[list[str]]) -> list[str]:
    """Choices as overrides."""
    return [word for words in choices for word in words]


@cache
def pairwise_cover() -> list[list[str]]:
    """Games that show every two choices of different axes together, where any game does; found greedily, always the same ones."""
    axes = list(AXES.values())
    places = [(axis, i) for axis, choices in enumerate(axes) for i in range(len(choices))]
    left = {pair for pair in itertools.combinations(places, 2) if pair[0][0] != pair[1][0]}
    numbers = random.Random(0)
    games: list[list[str]] = []
    while left:
        found: tuple[set[Any], list[str]] = (set(), [])
        for _ in range(300):
            chosen = {axis: numbers.randrange(len(choices)) for axis, choices in enumerate(axes)} | dict(min(left))
            pairs = left & set(itertools.combinations(sorted(chosen.items()), 2))
            words = flat(axes[axis][i] for axis, i in sorted(chosen.items()))
            if len(pairs) > len(found[0]) and not is_refused(words):
                found = pairs, words
        left -= found[0] or {min(left)}  # no game shows these two
        if found[1]:
            games.append(found[1])
    return games


def is_refused(words: Sequence[str]) -> bool:
    """Whether the product refuses a game, so quickly that all can be asked; `scripts/directions.py` asks the product itself."""
    given = set(words)
    fixes_scale = bool(given & {"discriminator.normalization=spectral", "discriminator.normalization=weight"})
    return (
        ("conditional=true" in given and not {"generator=resnet", "discriminator=resnet"} <= given)
        or (fixes_scale and bool(given & {"weight_clip=0.02", "regularizer=spectral_regularization"}))
        or ("discriminator.normalization=batch" in given and bool(given & {"regularizer=gradient_penalty", "regularizer=r1"}))
    )


def each_choice() -> list[list[str]]:
    """Those of them that show a choice which none before showed."""
    left = {tuple(choice) for choices in AXES.values() for choice in choices}
    games = []
    for words in pairwise_cover():
        shown = {choice for choice in left if set(choice) <= set(words)}
        left -= shown
        if shown:
            games.append(words)
    assert not left
    return games


def spec(config: Config) -> ImageSpec:
    """32 px, because the DCGAN discriminator is made for it."""
    return ImageSpec(32, 3, K if config.conditional else 0)


def inputs(config: Config, step: int, *, rank: int = 0) -> Inputs:
    """Those of a step, float64; each rank has its own."""
    numbers = torch.Generator().manual_seed(1000 * step + rank)
    d, n, m, z = config.d_steps, config.batch, config.g_batch, int(config.generator.options["z_dim"])
    x_real = torch.rand(d, n, 3, 32, 32, generator=numbers, dtype=torch.float64) * 2 - 1
    z_D, z_G = (torch.randn(*shape, z, generator=numbers, dtype=torch.float64) for shape in ((d, n), (m,)))
    epsilon = torch.rand(d, n, generator=numbers, dtype=torch.float64)
    y = [torch.randint(K, shape, generator=numbers) if config.conditional else None for shape in ((d, n), (d, n), (m,))]
    return Inputs(x_real, y[0], z_D, y[1], epsilon, z_G, y[2])


def together(ranks: Sequence[Inputs]) -> Inputs:
    """One batch of the ranks' batches."""
    of_G = [Inputs._fields.index(name) for name in ("z_G", "y_G")]  # the others begin with d_steps
    parts = enumerate(zip(*ranks, strict=True))
    return Inputs(*(None if part[0] is None else torch.cat(part, dim=0 if i in of_G else 1) for i, part in parts))


def apart(batch: Inputs, n: int) -> list[Inputs]:
    """A batch in n parts, which `together` makes one again."""
    of_G = [Inputs._fields.index(name) for name in ("z_G", "y_G")]
    split = [[None] * n if t is None else t.chunk(n, dim=0 if i in of_G else 1) for i, t in enumerate(batch)]
    return [Inputs(*part) for part in zip(*split, strict=True)]


def state_of(config: Config, dtype: torch.dtype) -> TrainState:
    """The product's, before the first step."""
    G, D = build_networks(config, spec(config))
    return initial_state(config, G.to(dtype), D.to(dtype), torch.device("cpu"))


def cast(batch: Inputs, dtype: torch.dtype) -> Inputs:
    """Inputs whose numbers are of another type; labels stay."""
    return Inputs(*(t.to(dtype) if t is not None and t.is_floating_point() else t for t in batch))


# The step


def cross_entropy(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


DISCRIMINATOR_LOSS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": lambda real, fake: torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean(),
    "bce": lambda real, fake: cross_entropy(real, 1.0) + cross_entropy(fake, 0.0),
    "wasserstein": lambda real, fake: fake.mean() - real.mean(),
}
GENERATOR_LOSS: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": lambda fake: -fake.mean(),
    "bce": lambda fake: cross_entropy(fake, 1.0),
    "saturating": lambda fake: -cross_entropy(fake, 0.0),
    "wasserstein": lambda fake: -fake.mean(),
}


class Player:
    """A network in float64 and contiguous memory, the normalisation of its weights by the formulas, and plain Adam."""

    def __init__(self, network: nn.Module, options: Network, config: Config):
        self.network = copy.deepcopy(network).to(torch.float64).to(memory_format=torch.contiguous_format).train()
        self.options = options
        for module in self.network.modules():
            if isinstance(module, Resampling3x3):
                module.fused = False
        kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding
        self.layers = {name: module for name, module in self.network.named_modules() if isinstance(module, kinds)}
        self.normalized = {n: m for n, m in self.layers.items() if not any(fnmatch(n, p) for p in options.exclude)}
        self.iterates_per_forward = options.normalization == "spectral" and options.iterate_per == "forward"
        self.u = {name: layer.u.clone() for name, layer in self.layers.items() if hasattr(layer, "u")}
        self.v: dict[str, Tensor] = {}
        adam = {"lr": config.optimizer.lr, "betas": config.optimizer.betas}
        self.parameters = list(self.network.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, **adam, foreach=False, fused=False)

    def weights(self, *, iterate: bool) -> dict[str, Tensor]:
        """What the network runs with in the place of its parameters."""
        scale, kind = self.options.scale, self.options.normalization
        used = {}
        for name, layer in self.normalized.items():
            W = layer.weight
            if kind == "spectral":
                factor = layer.gamma if scale == "learned" else scale
                used[f"{name}.weight"] = factor * W / self.sigma(name, iterations=self.options.power_iterations * iterate)
            elif kind == "bjorck":
                A = matrix(layer, W / self.sigma(name, iterations=self.options.power_iterations * iterate))
                for _ in range(15):
                    A = 1.5 * A - 0.5 * A @ A.T @ A
                transposed = isinstance(layer, nn.ConvTranspose2d)
                A = A.view_as(W.transpose(0, 1) if transposed else W)
                used[f"{name}.weight"] = float(scale) * (A.transpose(0, 1) if transposed else A)
            elif kind == "weight":
                rows = matrix(layer, W)  # [out, …]
                factor = layer.gamma if scale == "learned" else torch.full((len(rows),), float(scale), dtype=W.dtype)
                lengths = rows.square().sum(1).sqrt()
                shape = (1, -1, 1, 1) if isinstance(layer, nn.ConvTranspose2d) else (-1, *[1] * (W.dim() - 1))
                used[f"{name}.weight"] = W * (factor / lengths).view(shape)
        return used

    def sigma(self, name: str, *, iterations: int) -> Tensor:
        """u^T W v after power iterations (paper Algorithm 1), u and v constant."""
        layer = self.layers[name]
        if layer.u.dim() == 3:
            return self.sigma_of_map(name, layer, iterations=iterations)
        W = matrix(layer, layer.weight)
        with torch.no_grad():
            for _ in range(iterations):
                self.v[name] = F.normalize(W.T @ self.u[name], dim=0)
                self.u[name] = F.normalize(W @ self.v[name], dim=0)
        return self.u[name] @ W @ self.v[name]

    def sigma_of_map(self, name: str, layer: Any, *, iterations: int) -> Tensor:
        """<u, W v> of a convolution on maps [in, H, W]; its adjoint is the gradient by its input."""

        def convolved(x: Tensor) -> Tensor:
            run = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
            return run(x[None], layer.weight, None, layer.stride, layer.padding)[0]

        for _ in range(iterations):
            x = torch.zeros_like(layer.v, requires_grad=True)
            (v,) = torch.autograd.grad((convolved(x) * self.u[name]).sum(), x)
            self.v[name] = v / v.norm()
            u = convolved(self.v[name]).detach()
            self.u[name] = u / u.norm()
        return (self.u[name] * convolved(self.v[name])).sum()

    def shared(self) -> dict[str, Tensor] | None:
        """Weights for all forwards of this version of the parameters; None where each forward is to iterate."""
        return None if self.iterates_per_forward else self.weights(iterate=True)

    def gradients(self) -> list[float]:
        """How large each parameter's gradient has been, as a part of the largest of the network's.

        Where all are far below Adam's eps of 1e-8 (the loss is flat: BCE at logits of 70) the network stands still, and no part is large.
        """
        sizes = [self.optimizer.state[p]["exp_avg_sq"].mean().sqrt().item() for p in self.parameters]
        return [size / max(*sizes, 1e-3) for size in sizes]

    def __call__(self, x: Tensor, y: Tensor | None, weights: Mapping[str, Tensor] | None) -> Tensor:
        used = self.weights(iterate=True) if weights is None else weights
        return functional_call(self.network, dict(used), (x, y))


class ReferenceGame:
    """Both players, from the product's initial state, and G's average."""

    def __init__(self, state: TrainState, config: Config):
        self.config = config
        self.G = Player(state.G.network, config.generator, config)
        self.D = Player(state.D.network, config.discriminator, config)
        self.average = [p.detach().clone() for p in self.G.parameters]

    def step(self, *ranks: Inputs) -> None:
        """One training step on the inputs of each rank; the objective is the mean of theirs."""
        G_weights = self.G.shared()
        with torch.no_grad():
            fakes = [[self.G(r.z_D[i], at(r.y_D, i), G_weights) for i in range(len(r.z_D))] for r in ranks]
        for i in range(len(ranks[0].x_real)):
            D_weights = self.D.shared()
            losses = [self.D_loss(rank, x_fake[i], i, D_weights) for rank, x_fake in zip(ranks, fakes, strict=True)]
            self.update(self.D, losses)
            if self.config.weight_clip:
                for p in self.D.parameters:
                    p.data.clamp_(-self.config.weight_clip, self.config.weight_clip)
        # G's update sees the weights of D as they are now, with the u and v of its last update
        D_weights = None if self.D.iterates_per_forward else self.D.weights(iterate=False)
        name = "saturating" if self.config.loss.options.get("saturating") else self.config.loss.name
        losses = [GENERATOR_LOSS[name](self.D(self.G(r.z_G, r.y_G, G_weights), r.y_G, D_weights)) for r in ranks]
        self.update(self.G, losses)
        for averaged, p in zip(self.average, self.G.parameters, strict=True):
            averaged.copy_(self.config.ema.decay * averaged + (1 - self.config.ema.decay) * p.detach())

    def update(self, player: Player, losses: Sequence[Tensor]) -> None:
        """Adam on the mean of the ranks' losses."""
        for other in (self.G, self.D):
            other.optimizer.zero_grad()
        torch.stack(list(losses)).mean().backward()
        player.optimizer.step()

    def D_loss(self, inputs: Inputs, x_fake: Tensor, i: int, weights: dict[str, Tensor] | None) -> Tensor:
        """The loss of D, and the penalty that is added to it, on one rank's batch i."""
        x_real, y_real = inputs.x_real[i], at(inputs.y_real, i)
        real_logits, fake_logits = self.D(x_real, y_real, weights), self.D(x_fake, at(inputs.y_D, i), weights)
        loss = DISCRIMINATOR_LOSS[self.config.loss.name](real_logits, fake_logits)
        regularizer, strength = self.config.regularizer.name, self.config.regularizer.options.get("weight", 0.0)
        if regularizer == "gradient_penalty":
            epsilon = inputs.epsilon[i].view(-1, 1, 1, 1)
            slopes = self.slopes(epsilon * x_real + (1 - epsilon) * x_fake, y_real, weights)
            return loss + strength * ((slopes.norm(dim=1) - 1) ** 2).mean()
        if regularizer == "r1":
            return loss + strength / 2 * self.slopes(x_real, y_real, weights).square().sum(1).mean()
        if regularizer == "orthonormal":  # |W^T W - I|^2 as the paper writes it
            used = self.D.weights(iterate=False) if weights is None else weights
            for name, layer in self.D.layers.items():
                W = matrix(layer, used.get(f"{name}.weight", layer.weight))
                loss = loss + strength * (W.T @ W - torch.eye(W.shape[1], dtype=W.dtype)).square().sum()
        if regularizer == "spectral_regularization":
            for name in self.D.layers:
                loss = loss + strength / 2 * self.D.sigma(name, iterations=1) ** 2
        return loss

    def slopes(self, x: Tensor, y: Tensor | None, weights: dict[str, Tensor] | None) -> Tensor:
        """The gradient of each logit by its image, [N, C * H * W]."""
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.D(x, y, weights).sum(), x, create_graph=True)[0].flatten(1)


def matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """A weight as the paper's matrix, [out, in * kh * kw]."""
    return (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).flatten(1)


def at(labels: Tensor | None, i: int) -> Tensor | None:
    return None if labels is None else labels[i]


# The comparison


class Direction(NamedTuple):
    """How one tensor's update of some steps compares with the reference's."""

    name: str
    cosine: float
    ratio: float
    """Of the norms, the product's over the reference's."""
    error: float
    """The norm of the difference, as a part of what Adam moves a tensor at most: lr times the root of its numbers, each step."""


def compared(
    config: Config,
    step: Callable[[TrainState, Inputs], object],
    *,
    dtype: torch.dtype = torch.float64,
    steps: int = STEPS,
    first: int = 0,
) -> list[Direction]:
    """How some steps of a game, made by `step` in numbers of this type, compare with the reference's."""
    state = state_of(config, dtype)
    reference = ReferenceGame(state, config)
    before = {name: p.detach().clone() for name, p in watched(state).items()}
    for i in range(steps):
        step(state, cast(inputs(config, first + i), dtype))
        reference.step(inputs(config, first + i))
    return directions(before, state, reference, steps=steps)


def game_of(config: Config) -> Game:
    """The product's."""
    regularizer = build("regularizer", config.regularizer)
    return Game(
        build("loss", config.loss), regularizer, config.weight_clip, config.ema.decay, config.sync_batch_norm, config.accumulate
    )


def watched(state: TrainState) -> dict[str, Tensor]:
    """The parameters of G, D and the averaged G."""
    networks = {"G": state.G, "D": state.D, "G_ema": state.G_ema}
    return {f"{key}.{name}": p for key, network in networks.items() for name, p in network.network.named_parameters()}


def directions(before: Mapping[str, Tensor], state: TrainState, reference: ReferenceGame, *, steps: int) -> list[Direction]:
    """Of every parameter of G, D and the averaged G since `before`.

    Where the gradient is nothing but rounding, that of a bias before batch norm say, there is no direction: cosine and ratio are 1.
    """
    G, D = reference.G, reference.D
    theirs = [*G.parameters, *D.parameters, *reference.average]
    gradients = [*G.gradients(), *D.gradients(), *G.gradients()]
    found = []
    for (name, p), q, gradient in zip(watched(state).items(), theirs, gradients, strict=True):
        ours, expected = (t.detach().double() - before[name].double() for t in (p, q))
        most = reference.config.optimizer.lr * p.numel() ** 0.5 * steps
        error = ((ours - expected).norm() / most).item()
        if gradient < 1e-9:
            found.append(Direction(name, 1.0, 1.0, 0.0))
        else:
            cosine = F.cosine_similarity(ours.flatten(), expected.flatten(), dim=0, eps=1e-30).item()
            found.append(Direction(name, cosine, (ours.norm() / expected.norm()).item(), error))
    return found
