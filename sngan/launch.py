"""Who started this process as one of several ranks: torchrun, or Slurm's srun."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple


class Launch(NamedTuple):
    """A rank's place among all."""

    rank: int
    world: int
    local_rank: int
    """Its number among those of its machine, and that of its GPU."""
    address: str
    """The machine of rank 0."""
    url: str
    """Where ranks meet, for `torch.distributed.rendezvous`."""
    attempt: int = 0
    """How often torchrun has started all ranks again."""


def launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """This process's place as torchrun or srun says it; None where it was started alone.

    Variables of torchrun come first. What Slurm says of a job counts in a step of several tasks alone, which srun and submitit begin.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        rank, world, local = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        attempt = int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
        return Launch(rank, world, local, environment["MASTER_ADDR"], "env://", attempt)
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return None
    rank, world, local = (int(environment[name]) for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
    if "," not in environment.get("CUDA_VISIBLE_DEVICES", ","):
        local = 0  # Slurm shows each task its own GPU alone
    address = first_host(environment["SLURM_STEP_NODELIST"])
    port = 20_000 + int(environment["SLURM_JOB_ID"]) % 20_000  # jobs that share a machine have different ones
    return Launch(rank, world, local, address, f"tcp://{address}:{port}")


def is_first() -> bool:
    """Whether this process is rank 0, or alone."""
    place = launch()
    return place is None or place.rank == 0


def first_host(names: str) -> str:
    """The first of the hosts in Slurm's short form: `a1` of `a[1-3,7],b2`."""
    found = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\]([^,]*))?", names)
    assert found
    return "".join(part or "" for part in found.groups())
