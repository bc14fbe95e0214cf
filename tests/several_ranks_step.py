"""What test_direction.py starts with torchrun: each rank trains some games on inputs of its own and leaves what a step changes and says."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from reference_step import STEPS, game_of, inputs, state_of

from sngan import Config, distributed
from sngan.config import parse
from sngan.state import TrainState
from sngan.training.step import Inputs, train_step


def ends(state: TrainState) -> dict[str, Any]:
    """Weights, statistics and moments."""
    return {
        **{key: network.state_dict() for key, network in state.networks().items()},
        **{key: optimizer.state_dict()["state"] for key, optimizer in (("D_", state.D_optimizer), ("G_", state.G_optimizer))},
    }


def played(config: Config, batches: list[Inputs]) -> dict[str, Any]:
    """What some steps of a game leave in float64, and what they said."""
    state = state_of(config, torch.float64)
    said = [train_step(state, game_of(config), batch) for batch in batches]
    return {**ends(state), "said": said}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu")):
        rank = distributed.rank()
        for name, values in json.loads(sys.argv[1]).items():
            config = parse(Config, values)
            torch.save(played(config, [inputs(config, i, rank=rank) for i in range(STEPS)]), f"{name}-{rank}.pt")
