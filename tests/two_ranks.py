"""What test_distributed.py starts with torchrun: each rank prints one JSON line of what it saw."""

from __future__ import annotations

import json
import sys

import torch

from conftest import TINY
from sngan import UserError, compose, distributed, train

if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu")):
        rank = distributed.rank()
        gradients = [torch.full((2, 3), float(rank)), torch.full((4,), float(10 * rank))]
        distributed.average(gradients)
        module = torch.nn.Linear(2, 2)
        torch.nn.init.constant_(module.weight, float(rank + 1))
        distributed.broadcast(module)
        try:
            distributed.share(5, "batch")
            refused = ""
        except UserError as error:
            refused = str(error)
        train(compose([*TINY, "run_dir=run", "evaluate_every=3"]))
        said = {
            "gradients": [g.flatten().tolist() for g in gradients],
            "weight": module.weight.flatten().tolist(),
            "any": distributed.any_rank(rank == 1),
            "first": distributed.from_first_rank(f"from {rank}"),
            "refused": refused,
        }
        sys.stdout.write("\n" + json.dumps(said) + "\n")
        sys.stdout.flush()
