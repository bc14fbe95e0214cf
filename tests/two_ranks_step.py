"""What test_direction.py starts with torchrun: each rank trains some games on inputs of its own and leaves its weights."""

from __future__ import annotations

import json
import sys

import torch
from reference_step import ASIDE, STEPS, game_of, inputs, state_of, watched

from sngan import compose, distributed
from sngan.training.step import train_step

if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu")):
        rank = distributed.rank()
        for name, words in json.loads(sys.argv[1]).items():
            config = compose([*ASIDE, *words])
            state = state_of(config, torch.float64)
            for i in range(STEPS):
                train_step(state, game_of(config), inputs(config, i, rank=rank))
            torch.save({key: p.detach() for key, p in watched(state).items()}, f"{name}-{rank}.pt")
