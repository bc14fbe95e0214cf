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

import reference_augment
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sngan import Config, build
from sngan.config import GeneratorNetwork, Network
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
        ["discriminator=biggan", "discriminator.widths=[6,4]", "discriminator.downsample=[true,false]", "discriminator.attention=16"],
    ],
    "generator": [
        ["generator=cnn", "generator.widths=[8,6,4,4]"],
        ["generator=cnn", "generator.widths=[6,4]", "generator.first_norm=feature"],
        ["generator=cnn_small", "generator.widths=[8,4]", "generator.first_norm=channel"],
        ["generator=resnet", "generator.widths=[8,6,4,4]"],
        ["generator=biggan", "generator.widths=[8,6,4,4]", "generator.shared_dim=4", "generator.attention=16"],
    ],
    "conditional": [
        ["conditional=false"],
        ["conditional=true"],
        ["conditional=true", "discriminator.labels=concat"],
        ["conditional=true", "discriminator.labels=auxiliary"],
    ],
    "loss": [
        ["loss=hinge"],
        ["loss=bce"],
        ["loss=bce", "loss.saturating=true"],
        ["loss=wasserstein"],
        ["loss=least_squares"],
        ["loss=relativistic_pair"],
        ["loss=relativistic_average"],
    ],
    "regularizer": [
        [f"regularizer={name}"]
        for name in ("none", "gradient_penalty", "r1", "r1_r2", "orthonormal", "spectral_regularization", "lecam")
    ],
    "D norm": [
        ["discriminator.normalization=spectral"],
        ["discriminator.normalization=spectral", "discriminator.scale=learned"],
        ["discriminator.normalization=spectral", "discriminator.scale=1.5", "discriminator.power_iterations=2",
         "discriminator.exclude=[*s.0*]"],
        ["discriminator.normalization=spectral", "discriminator.iterate_per=forward", "discriminator.scale=learned"],
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
        ["generator.normalization=none", "g_orthogonal=0.1"],
    ],
}  # fmt: skip
"""Each choice that decides what a step computes, as overrides; a row of `constraint` is a point of this product."""

VARIANTS = {
    "discriminator=cnn_author", "discriminator=biggan", "generator.first_norm=feature", "generator=cnn_small", "regularizer=r2",
}  # fmt: skip
"""Second forms of a choice that the whole product leaves to the pairwise cover."""

ASIDE = [
    "device=cpu",
    f"batch={N}",
    f"g_batch={M}",
    f"d_steps={D_STEPS}",
    "generator.z_dim=8",
    "optimizer.decay=none",
    "optimizer.d.lr=4e-4",
    "optimizer.g.betas=[0.5,0.99]",
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


PENALTIES_OF_AN_IMAGE = {f"regularizer={name}" for name in ("gradient_penalty", "r1", "r2", "r1_r2")}


def is_refused(words: Sequence[str]) -> bool:
    """Whether the product refuses a game, so quickly that all can be asked; `scripts/directions.py` asks the product itself."""
    given = set(words)
    fixes_scale = bool(given & {"discriminator.normalization=spectral", "discriminator.normalization=weight"})
    return (fixes_scale and bool(given & {"weight_clip=0.02", "regularizer=spectral_regularization"})) or (
        "discriminator.normalization=batch" in given and bool(given & PENALTIES_OF_AN_IMAGE)
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
    shapes = ((d, n), (d, n), (m,), (m,))
    y = [torch.randint(K, shape, generator=numbers) if config.conditional else None for shape in shapes]
    is_relativistic = config.loss.name.startswith("relativistic")
    x_real_G = torch.rand(m, 3, 32, 32, generator=numbers, dtype=torch.float64) * 2 - 1 if is_relativistic else None
    a = {"none": 0, "diffaugment": 7, "ada": 28}[config.augment.name]
    u = [torch.rand(*shape, a, generator=numbers, dtype=torch.float64) if a else None for shape in shapes]
    of_real_G = (y[3], u[3]) if is_relativistic else (None, None)
    return Inputs(x_real, y[0], z_D, y[1], epsilon, z_G, y[2], x_real_G, of_real_G[0], u[0], u[1], u[2], of_real_G[1])


OF_G = [Inputs._fields.index(name) for name in ("z_G", "y_G", "x_real_G", "y_real_G", "u_G", "u_real_G")]
"""The inputs that do not begin with d_steps."""


def together(ranks: Sequence[Inputs]) -> Inputs:
    """One batch of the ranks' batches."""
    parts = enumerate(zip(*ranks, strict=True))
    return Inputs(*(None if part[0] is None else torch.cat(part, dim=0 if i in OF_G else 1) for i, part in parts))


def apart(batch: Inputs, n: int) -> list[Inputs]:
    """A batch in n parts, which `together` makes one again."""
    split = [[None] * n if t is None else t.chunk(n, dim=0 if i in OF_G else 1) for i, t in enumerate(batch)]
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
    "least_squares": lambda real, fake: F.mse_loss(real, torch.ones_like(real)) / 2 + F.mse_loss(fake, torch.zeros_like(fake)) / 2,
    "relativistic_pair": lambda real, fake: cross_entropy(real - fake, 1.0),
    "relativistic_average": lambda real, fake: cross_entropy(real - fake.mean(), 1.0) + cross_entropy(fake - real.mean(), 0.0),
}
GENERATOR_LOSS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": lambda real, fake: -fake.mean(),
    "bce": lambda real, fake: cross_entropy(fake, 1.0),
    "saturating": lambda real, fake: -cross_entropy(fake, 0.0),
    "wasserstein": lambda real, fake: -fake.mean(),
    "least_squares": lambda real, fake: F.mse_loss(fake, torch.ones_like(fake)) / 2,
    "relativistic_pair": lambda real, fake: cross_entropy(fake - real, 1.0),
    "relativistic_average": lambda real, fake: cross_entropy(fake - real.mean(), 1.0) + cross_entropy(real - fake.mean(), 0.0),
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
        own = config.optimizer.g if isinstance(options, GeneratorNetwork) else config.optimizer.d
        adam = {"lr": own.lr or config.optimizer.lr, "betas": own.betas or config.optimizer.betas}
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
        self.anchors = {"real": 0.0, "fake": 0.0}
        """LeCam's moving averages of mean logits."""
        self.p = float(config.augment.options.get("p", 0.0))
        """The probability of ADA."""
        self.signs: list[float] = []
        """Mean signs of real logits, of all updates."""
        self.said: list[dict[str, float]] = []
        """Mean logits of the update that goes on, for each rank."""

    def step(self, *ranks: Inputs) -> None:
        """One training step on the inputs of each rank; the objective is the mean of theirs."""
        G_weights = self.G.shared()
        with torch.no_grad():
            fakes = [[self.G(r.z_D[i], at(r.y_D, i), G_weights) for i in range(len(r.z_D))] for r in ranks]
        for i in range(len(ranks[0].x_real)):
            D_weights = self.D.shared()
            self.said = []
            losses = [self.D_loss(rank, x_fake[i], i, D_weights) for rank, x_fake in zip(ranks, fakes, strict=True)]
            self.update(self.D, losses)
            decay = self.config.regularizer.options.get("decay", 0.0)
            for key in self.anchors:
                self.anchors[key] = decay * self.anchors[key] + (1 - decay) * sum(said[key] for said in self.said) / len(self.said)
            self.adapt()
            if self.config.weight_clip:
                for p in self.D.parameters:
                    p.data.clamp_(-self.config.weight_clip, self.config.weight_clip)
        # G's update sees the weights of D as they are now, with the u and v of its last update
        D_weights = None if self.D.iterates_per_forward else self.D.weights(iterate=False)
        self.update(self.G, [self.G_loss(rank, G_weights, D_weights) for rank in ranks])
        for averaged, p in zip(self.average, self.G.parameters, strict=True):
            averaged.copy_(self.config.ema.decay * averaged + (1 - self.config.ema.decay) * p.detach())

    def adapt(self) -> None:
        """Of ADA after an update: every fourth moves p by the images of four."""
        options = self.config.augment.options
        self.signs.append(sum(said["signs"] for said in self.said) / len(self.said))
        if options.get("target") is not None and len(self.signs) % 4 == 0:
            step = 4 * self.config.batch / options["images"]
            self.p = max(self.p + (step if sum(self.signs[-4:]) / 4 > options["target"] else -step), 0.0)

    def seen(self, x: Tensor, u: Tensor | None) -> Tensor:
        """Images as D is to see them, one after the other."""
        if u is None:
            return x
        pairs = list(zip(x, u.tolist(), strict=True))
        if self.config.augment.name == "ada":
            return torch.stack([reference_augment.ada(image, numbers, p=self.p) for image, numbers in pairs])
        return torch.stack([reference_augment.diffaugment(image, numbers) for image, numbers in pairs])

    def update(self, player: Player, losses: Sequence[Tensor]) -> None:
        """Adam on the mean of the ranks' losses."""
        for other in (self.G, self.D):
            other.optimizer.zero_grad()
        torch.stack(list(losses)).mean().backward()
        player.optimizer.step()

    def G_loss(self, inputs: Inputs, G_weights: dict[str, Tensor] | None, D_weights: dict[str, Tensor] | None) -> Tensor:
        """The loss of G on one rank's batch."""
        fake = self.G(inputs.z_G, inputs.y_G, G_weights)
        fake_logits, label_loss = parted(self.D(self.seen(fake, inputs.u_G), inputs.y_G, D_weights))
        real_logits = torch.zeros(())
        if inputs.x_real_G is not None:
            real_logits = parted(self.D(self.seen(inputs.x_real_G, inputs.u_real_G), inputs.y_real_G, D_weights))[0]
        name = "saturating" if self.config.loss.options.get("saturating") else self.config.loss.name
        loss = GENERATOR_LOSS[name](real_logits, fake_logits) + label_loss
        if self.config.g_orthogonal:
            for layer in self.G.layers.values():
                W = matrix(layer, layer.weight)
                apart = 1 - torch.eye(len(W), dtype=W.dtype)
                loss = loss + self.config.g_orthogonal * ((W @ W.T) * apart).square().sum()
        return loss

    def D_loss(self, inputs: Inputs, x_fake: Tensor, i: int, weights: dict[str, Tensor] | None) -> Tensor:
        """The loss of D, and the penalty that is added to it, on one rank's batch i."""
        x_real, y_real = inputs.x_real[i], at(inputs.y_real, i)
        real_logits, real_label_loss = parted(self.D(self.seen(x_real, at(inputs.u_real, i)), y_real, weights))
        fake_logits, fake_label_loss = parted(self.D(self.seen(x_fake, at(inputs.u_fake, i)), at(inputs.y_D, i), weights))
        self.said.append(
            {"real": real_logits.mean().item(), "fake": fake_logits.mean().item(), "signs": real_logits.sign().mean().item()}
        )
        loss = DISCRIMINATOR_LOSS[self.config.loss.name](real_logits, fake_logits) + real_label_loss + fake_label_loss
        regularizer, strength = self.config.regularizer.name, self.config.regularizer.options.get("weight", 0.0)
        if regularizer == "gradient_penalty":
            epsilon = inputs.epsilon[i].view(-1, 1, 1, 1)
            slopes = self.slopes(epsilon * x_real + (1 - epsilon) * x_fake, y_real, weights)
            return loss + strength * ((slopes.norm(dim=1) - 1) ** 2).mean()
        if regularizer in ("r1", "r1_r2"):
            loss = loss + strength / 2 * self.slopes(x_real, y_real, weights, at(inputs.u_real, i)).square().sum(1).mean()
        if regularizer in ("r2", "r1_r2"):
            loss = (
                loss + strength / 2 * self.slopes(x_fake, at(inputs.y_D, i), weights, at(inputs.u_fake, i)).square().sum(1).mean()
            )
        if regularizer == "lecam":
            a = self.anchors
            loss = loss + strength * ((real_logits - a["fake"]).square().mean() + (fake_logits - a["real"]).square().mean())
        if regularizer == "orthonormal":  # |W^T W - I|^2 as the paper writes it
            used = self.D.weights(iterate=False) if weights is None else weights
            for name, layer in self.D.layers.items():
                W = matrix(layer, used.get(f"{name}.weight", layer.weight))
                loss = loss + strength * (W.T @ W - torch.eye(W.shape[1], dtype=W.dtype)).square().sum()
        if regularizer == "spectral_regularization":
            for name in self.D.layers:
                loss = loss + strength / 2 * self.D.sigma(name, iterations=1) ** 2
        return loss

    def slopes(self, x: Tensor, y: Tensor | None, weights: dict[str, Tensor] | None, u: Tensor | None = None) -> Tensor:
        """The gradient of each logit by its image, [N, C * H * W]."""
        x = x.detach().requires_grad_()
        return torch.autograd.grad(parted(self.D(self.seen(x, u), y, weights))[0].sum(), x, create_graph=True)[0].flatten(1)


def parted(output: Tensor) -> tuple[Tensor, Tensor]:
    """The logits, and the mean loss of an auxiliary classifier, whose output has -log p(y | x) as a second column; 0 without one."""
    return (output, torch.zeros(())) if output.dim() == 1 else (output[:, 0], output[:, 1].mean())


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
        loss=build("loss", config.loss),
        regularizer=regularizer,
        weight_clip=config.weight_clip,
        ema_decay=config.ema.decay,
        sync_batch_norm=config.sync_batch_norm,
        g_orthogonal=config.g_orthogonal,
        augment=build("augment", config.augment, spec(config), config.batch),
        accumulate=config.accumulate,
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
