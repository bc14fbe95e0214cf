"""One training step: d_steps discriminator updates, one generator update (paper Algorithm 1 inside the usual alternation).

Functions of tensors alone: no config, clock, rank, file or random number is read here, and no tensor becomes a Python number.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sngan.augmentations.augmentation import Augmentation
from sngan.layers.batch_norm import synchronised
from sngan.layers.head import label_loss, logits_of
from sngan.layers.normalized import Normalized
from sngan.losses.loss import Loss, RelativisticLoss
from sngan.optimizer import descend, trained
from sngan.regularizers.orthonormal import off_diagonal
from sngan.regularizers.regularizer import Batch, Logits, Regularizer
from sngan.state import TrainState
from sngan.training.fakes import fakes

Weights = dict[str, Tensor] | None
"""Normalised weights that all forwards of one version of the parameters share; None if each forward normalises for itself."""


class Game(NamedTuple):
    """The two-network objective that is trained."""

    loss: Loss | RelativisticLoss
    regularizer: Regularizer | None
    """Added to the loss of D."""
    weight_clip: float | None
    """After each update D's parameters are clipped to [-weight_clip, weight_clip]."""
    ema_decay: float
    sync_batch_norm: bool = False
    """Batch norm has the statistics of the batches of all ranks together, not of each rank's own."""
    g_orthogonal: float | None = None
    """The weight of the orthogonal regularisation that is added to the loss of G."""
    augment: Augmentation | None = None
    """Changes every image that D sees, in both updates."""
    accumulate: int = 1
    """Micro-batches of each update, whose gradients are averaged. Losses are then means over images, and batch statistics a micro-batch's."""


class Inputs(NamedTuple):
    """The inputs of one training step; labels are None in an unconditional game."""

    x_real: Tensor
    """[d_steps, N, C, H, W] in [-1, 1]"""
    y_real: Tensor | None
    """int64 [d_steps, N]"""
    z_D: Tensor
    """[d_steps, N, Z], latents for the discriminator updates"""
    y_D: Tensor | None
    """int64 [d_steps, N], labels of their fakes"""
    epsilon: Tensor
    """[d_steps, N], uniform in [0, 1): where a penalty looks between a real and a generated image"""
    z_G: Tensor
    """[M, Z], latents for the generator update"""
    y_G: Tensor | None
    """int64 [M]"""
    x_real_G: Tensor | None = None
    """[M, C, H, W] in [-1, 1], real images for the generator update, if the loss is relativistic"""
    y_real_G: Tensor | None = None
    """int64 [M], their labels"""
    u_real: Tensor | None = None
    """[d_steps, N, A], uniform in [0, 1): what decides how real images are augmented; None without augmentation"""
    u_fake: Tensor | None = None
    """[d_steps, N, A], likewise for their fakes"""
    u_G: Tensor | None = None
    """[M, A], likewise for the images of the generator update"""
    u_real_G: Tensor | None = None
    """[M, A], likewise for its real images"""


def train_step(state: TrainState, game: Game, inputs: Inputs) -> dict[str, Tensor]:
    """Trains `state` by one step, in place.

    Returns the statistics as scalar tensors: means over the d_steps discriminator updates, and over ranks.
    """
    with synchronised(state.G, state.D) if game.sync_batch_norm else nullcontext():
        return _train_step(state, game, inputs)


def _train_step(state: TrainState, game: Game, inputs: Inputs) -> dict[str, Tensor]:
    d_steps = len(inputs.x_real)
    G_weights = shared_weights(state.G, update=True)  # G does not change until its own update
    x_fake = fakes(state.G, G_weights, inputs.z_D, inputs.y_D, micro_batches=game.accumulate)  # d_steps of [N, C, H, W]
    u = [(_at(inputs.u_real, i), _at(inputs.u_fake, i)) for i in range(d_steps)]
    batches = [
        Batch(inputs.x_real[i], _at(inputs.y_real, i), x_fake[i], _at(inputs.y_D, i), inputs.epsilon[i], *u[i])
        for i in range(d_steps)
    ]
    D_stats = [update_discriminator(state, game, batch) for batch in batches]
    u_G = (inputs.u_G, inputs.u_real_G)
    G_loss = update_generator(state, game, G_weights, inputs.z_G, inputs.y_G, inputs.x_real_G, inputs.y_real_G, *u_G)
    update_average(state, game.ema_decay)
    stats = {name: torch.stack([s[name] for s in D_stats]).mean() for name in D_stats[0]}
    return {**stats, "G_loss": G_loss}


def update_discriminator(state: TrainState, game: Game, batch: Batch) -> dict[str, Tensor]:
    """One discriminator update on N real and N generated images."""
    augment = partial(game.augment, state.D) if game.augment else None
    parts = enumerate((*part, augment) for part in _parts(batch[:-1], game.accumulate))
    objectives = [partial(D_objective, state.D, game, Batch(*part), update=i == 0) for i, part in parts]
    stats = descend(objectives, state.D, state.D_optimizer)
    if game.regularizer:
        game.regularizer.updated(state.D, stats)
    if game.augment:
        game.augment.updated(state.D, stats)
    if game.weight_clip:
        clip(state.D, game.weight_clip)
    return stats


def D_objective(D: Normalized[nn.Module], game: Game, batch: Batch, *, update: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """What D minimises on a micro-batch, and its statistics. `update` renews u and v: once for each update of the weights."""
    weights = shared_weights(D, update=update)
    logits = judge(D, weights, batch)
    D_loss = game.loss.discriminator(logits.real, logits.fake)
    if logits.label_loss is not None:
        D_loss = D_loss + logits.label_loss
    stats = {"D_loss": D_loss, "real_logits": logits.real.mean(), "fake_logits": logits.fake.mean()}
    if game.augment:
        stats |= game.augment.statistics(D, logits)
    if not game.regularizer:
        return D_loss, stats
    penalty = game.regularizer(D, weights, batch, logits)
    return D_loss + penalty, {**stats, "penalty": penalty}


def judge(D: Normalized[nn.Module], weights: Weights, batch: Batch) -> Logits:
    """The logits of N real and N generated images, as they are seen, in float32 at least."""
    x_real, x_fake = batch.seen(batch.x_real, batch.u_real), batch.seen(batch.x_fake, batch.u_fake)
    if D.uses_batch_statistics or weights is None:
        # two forwards: real and generated images have different batch statistics, and the author code iterates in each forward
        real, fake = D(x_real, batch.y_real, weights=weights), D(x_fake, batch.y_fake, weights=weights)
    else:  # one forward gives the same: each logit depends on its own image alone
        y = None if batch.y_real is None or batch.y_fake is None else torch.cat([batch.y_real, batch.y_fake])
        both = D(torch.cat([x_real, x_fake]), y, weights=weights)  # [2N], or [2N, 2] with an auxiliary classifier
        real, fake = both.split([len(x_real), len(x_fake)])
    return Logits(logits_of(real), logits_of(fake), label_loss(real, fake))


def update_generator(
    state: TrainState,
    game: Game,
    G_weights: Weights,
    z: Tensor,
    y: Tensor | None,
    x_real: Tensor | None = None,
    y_real: Tensor | None = None,
    u: Tensor | None = None,
    u_real: Tensor | None = None,
) -> Tensor:
    """One generator update on M latents against a frozen D, and on M real images if the loss is relativistic.

    The weights of D get no gradient. Its u and v stay as they are, unless each forward runs a power iteration.
    """
    with torch.no_grad():
        D_weights = shared_weights(state.D, update=False)

    def seen(x: Tensor, u: Tensor | None) -> Tensor:
        return x if game.augment is None or u is None else game.augment(state.D, x, u)

    def objective(
        weights: Weights, z: Tensor, y: Tensor | None, x_real: Any, y_real: Tensor | None, u: Tensor | None, u_real: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if weights is None:  # those of the micro-batch before have lost their graph
            weights = shared_weights(state.G, update=False)
        x_fake = state.G(z, y, weights=weights)  # [M, C, H, W]
        output = state.D(seen(x_fake, u), y, weights=D_weights)
        if isinstance(game.loss, RelativisticLoss):
            with torch.no_grad():  # real logits do not depend on G
                real_logits = logits_of(state.D(seen(x_real, u_real), y_real, weights=D_weights))  # [M]
            G_loss = game.loss.generator(real_logits, logits_of(output))
        else:
            G_loss = game.loss.generator(logits_of(output))
        of_labels = label_loss(output)
        if of_labels is not None:
            G_loss = G_loss + of_labels
        if game.g_orthogonal:
            penalty = off_diagonal(state.G, game.g_orthogonal)
            return G_loss + penalty, {"G_loss": G_loss}
        return G_loss, {"G_loss": G_loss}

    parts = enumerate(_parts([z, y, x_real, y_real, u, u_real], game.accumulate))
    objectives = [partial(objective, G_weights if i == 0 else None, *part) for i, part in parts]
    return descend(objectives, state.G, state.G_optimizer)["G_loss"]


def shared_weights(network: Normalized[Any], *, update: bool) -> Weights:
    """The network's weights for all forwards until its parameters change; None if each forward normalises for itself."""
    return None if network.iterates_per_forward else network.normalize(update=update)


@torch.no_grad()
def clip(network: nn.Module, limit: float) -> None:
    """Clips every trained parameter to [-limit, limit], in place (Arjovsky et al. 2017, Algorithm 1)."""
    parameters: list[Tensor] = [*trained(network)]
    torch._foreach_clamp_min_(parameters, -limit)
    torch._foreach_clamp_max_(parameters, limit)


@torch.no_grad()
def update_average(state: TrainState, decay: float) -> None:
    """G_ema <- decay * G_ema + (1 - decay) * G for weights. Batch-norm statistics are copied; u and v are advanced with G_ema's own weights."""
    get_ema_multi_avg_fn(decay)(list(state.G_ema.parameters()), list(state.G.parameters()), None)
    buffers = [
        (averaged, current)
        for (name, averaged), current in zip(state.G_ema.named_buffers(), state.G.buffers(), strict=True)
        if name.rpartition(".")[2] not in ("u", "v")
    ]
    for dtype in dict.fromkeys(averaged.dtype for averaged, _ in buffers):  # lists of mixed types would be copied tensor by tensor
        averages, currents = zip(*(pair for pair in buffers if pair[0].dtype == dtype), strict=True)
        torch._foreach_copy_(averages, currents)
    state.G_ema.advance()


def _parts(tensors: Sequence[Tensor | None], n: int) -> list[tuple[Any, ...]]:
    """Tensors of one length, None among them, in n parts of one size."""
    return list(zip(*([t] * n if t is None else t.chunk(n) for t in tensors), strict=True))


def _at(labels: Tensor | None, i: int) -> Tensor | None:
    return None if labels is None else labels[i]
