"""One step of the game: d_steps updates of D, one of G (paper Algorithm 1 inside the usual alternation).

Functions of tensors alone: no config, clock, rank, file or random number is read here, and no tensor becomes a Python number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sngan import distributed
from sngan.losses.loss import Loss
from sngan.training.state import TrainState


class Inputs(NamedTuple):
    """What one step consumes; labels are None in an unconditional game."""

    x_real: Tensor
    """[d_steps, N, C, H, W] in [-1, 1]"""
    y_real: Tensor | None
    """int64 [d_steps, N]"""
    z_D: Tensor
    """[d_steps, N, Z], latents for D's updates"""
    y_D: Tensor | None
    """int64 [d_steps, N], labels of their fakes"""
    z_G: Tensor
    """[M, Z], latents for G's update"""
    y_G: Tensor | None
    """int64 [M]"""


def train_step(state: TrainState, loss: Loss, inputs: Inputs, *, ema_decay: float) -> dict[str, Tensor]:
    """Plays one step, changing `state` in place, and returns its statistics as scalar tensors (means over the d_steps updates of D)."""
    d_steps = len(inputs.x_real)
    D_stats = [
        update_discriminator(state, loss, inputs.x_real[i], _at(inputs.y_real, i), inputs.z_D[i], _at(inputs.y_D, i))
        for i in range(d_steps)
    ]
    G_loss = update_generator(state, loss, inputs.z_G, inputs.y_G)
    update_average(state, ema_decay)
    stats = {name: torch.stack([s[name] for s in D_stats]).mean() for name in D_stats[0]}
    return {**stats, "G_loss": G_loss}


def update_discriminator(
    state: TrainState, loss: Loss, x_real: Tensor, y_real: Tensor | None, z: Tensor, y_fake: Tensor | None
) -> dict[str, Tensor]:
    """One update of D on N real and N generated images; G's weights do not move (its batch-norm statistics do)."""
    with torch.no_grad():
        x_fake = state.G(z, y_fake)  # [N, C, H, W]
    weights = state.D.normalize(update=True)
    # one forward for both: exact, as D has no batch statistics
    y = None if y_real is None or y_fake is None else torch.cat([y_real, y_fake])
    logits = state.D(torch.cat([x_real, x_fake]), y, weights=weights).float()  # [2N]
    real_logits, fake_logits = logits.split([len(x_real), len(x_fake)])
    D_loss = loss.discriminator(real_logits, fake_logits)
    descend(D_loss, state.D, state.D_optimizer)
    return {
        "D_loss": D_loss.detach(),
        "real_logits": real_logits.detach().mean(),
        "fake_logits": fake_logits.detach().mean(),
    }


def update_generator(state: TrainState, loss: Loss, z: Tensor, y: Tensor | None) -> Tensor:
    """One update of G on M latents against a D that is frozen: its weights get no gradient and its u, v do not move."""
    with torch.no_grad():
        weights = state.D.normalize(update=False)
    fake_logits = state.D(state.G(z, y), y, weights=weights).float()  # [M]
    G_loss = loss.generator(fake_logits)
    descend(G_loss, state.G, state.G_optimizer)
    return G_loss.detach()


def descend(objective: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One optimiser step of `network` on the gradient of `objective`, averaged over ranks; nothing else gets a gradient."""
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(objective, parameters)
    distributed.average(gradients)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def update_average(state: TrainState, decay: float) -> None:
    """G_ema <- decay * G_ema + (1 - decay) * G for weights; batch-norm statistics are copied."""
    get_ema_multi_avg_fn(decay)(list(state.G_ema.parameters()), list(state.G.parameters()), None)
    for averaged, current in zip(state.G_ema.buffers(), state.G.buffers(), strict=True):
        averaged.copy_(current)


def _at(labels: Tensor | None, i: int) -> Tensor | None:
    return None if labels is None else labels[i]
