"""A new run that begins with the weights of another one.

G goes on from the weights that were trained, its average from the average, and D, which was trained against that G, from its own: as
StyleGAN2-ADA continues from a model (Karras et al. 2020, `training_loop.py` of the authors). Optimisers, the count of steps
and the probability of an adaptive augmentation begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sngan.augmentations.augmentation import BUFFERS
from sngan.errors import DamagedError, UserError
from sngan.layers.normalized import Normalized
from sngan.runs.checkpoint import Checkpoint, open_checkpoint
from sngan.runs.tensors import load_fitting
from sngan.state import TrainState

ITERATIONS = 20
"""Power iterations for weights whose u and v did not come with them; torch begins with 15."""


class Start(NamedTuple):
    """Where a run began."""

    record: dict[str, Any]
    """For run.json: the checkpoint's path, step, and the sha256 of each file that was read."""
    left: list[str]
    """What stays as initialised, a line a layer."""


def open_start(path: Path) -> Checkpoint:
    """The checkpoint that `init` names: a run folder (its newest), a checkpoint's folder or a file in it. `UserError` if there is none."""
    try:
        return open_checkpoint(path.parent if path.is_file() else path)
    except DamagedError:
        raise
    except UserError as error:
        raise UserError(f"init={path}: {error}") from None


def start_from(state: TrainState, checkpoint: Checkpoint, networks: Sequence[str]) -> Start:
    """Fills the networks (`G`, `D`) of a new state with the weights of a checkpoint, where they fit; buffers go along.

    Raises `UserError` if nothing of a network fits.
    """
    files: Mapping[str, dict[str, Normalized[Any]]] = {
        "G": {"generator_raw": state.G, "generator": state.G_ema},
        "D": {"discriminator": state.D},
    }
    left: dict[str, None] = {}
    read: dict[str, str] = {}
    for name in networks:
        for file, network in files[name].items():
            path = checkpoint.file(f"{file}.safetensors")
            fitted = load_fitting(network.network, path, but=BUFFERS)
            if not fitted.names:
                others = [other for other in networks if other != name]
                instead = f"init_networks=[{others[0]}], " if others else ""
                raise UserError(
                    f"init: nothing of {checkpoint.path} fits {name} ({fitted.left[0]}); give {instead}networks as that run has, or init=null"
                )
            if network.vectors and fitted.lacks_vectors:
                network.vectors.advance(ITERATIONS)
            left |= dict.fromkeys(f"{name} {line}" for line in fitted.left)
            read[path.name] = checkpoint.sha256[path.name]
    return Start({"checkpoint": str(checkpoint.path), "step": checkpoint.step, "sha256": read}, list(left))
