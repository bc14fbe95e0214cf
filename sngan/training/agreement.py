"""Ranks that train together hold the same state, or their run is void."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sngan import distributed
from sngan.errors import UserError
from sngan.layers.normalized import Normalized
from sngan.optimizer import MOMENTS, trained
from sngan.state import TrainState

OWN = ("running_mean", "running_var")
"""Statistics that each rank has of its own batches, unless they are synchronised. None is trained with, and rank 0's are saved."""


def check_ranks(state: TrainState, *, sync_batch_norm: bool) -> None:
    """Raises `UserError` that names a tensor and the ranks, if not all ranks hold the state that rank 0 holds, bit for bit.

    Weights, u, v, moments and, where they are synchronised, batch statistics. Waits for the device, and for all ranks.
    """
    if distributed.world_size() == 1:
        return
    tensors = {name: t for name, t in held(state).items() if sync_batch_norm or not name.endswith(OWN)}
    found = distributed.first_difference(tensors)
    if found:
        name, ranks = found
        those = f"rank {ranks[0]} differs" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))} differ"
        raise UserError(
            f"{name} is not the same on all ranks after step {state.step}: {those} from rank 0; this state is not saved\n"
            "the same command goes on from the last checkpoint; if it happens again, look at the memory of that rank's GPU or machine"
        )


def held(state: TrainState) -> dict[str, Tensor]:
    """All tensors of the state by name: `D.linear.weight`, `D.linear.weight exp_avg`."""
    networks: dict[str, Normalized[Any]] = {"G": state.G, "D": state.D, "G_ema": state.G_ema}
    tensors = {f"{key}.{name}": t for key, network in networks.items() for name, t in network.network.state_dict().items()}
    for key, optimizer in (("G", state.G_optimizer), ("D", state.D_optimizer)):
        names = {parameter: name for name, parameter in networks[key].network.named_parameters()}
        for parameter in trained(networks[key]):
            moments = optimizer.state.get(parameter, {})
            tensors |= {f"{key}.{names[parameter]} {moment}": moments[moment] for moment in MOMENTS if moment in moments}
    return tensors
