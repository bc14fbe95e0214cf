"""`sngan train`: trains a GAN, or continues one."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sngan.cli.compose import to_dict, train_config
from sngan.cli.jobs import run
from sngan.cli.run_names import earlier_variant, run_dir, variant
from sngan.errors import Interrupted
from sngan.launch import is_first


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    try:
        return run("train", _train, argv, folder=_folder)
    except Interrupted as stop:
        print(f"sngan: interrupted by {stop}", file=sys.stderr)
        return 128 + stop.signum


def _train(cfg: DictConfig) -> float | None:
    """Trains and returns the best quick score, by the protocol's first metric, for a sweeper that searches; None without scores."""
    overrides = HydraConfig.get().overrides.task
    config = train_config(cfg, overrides)
    # torch takes seconds, and what is wrong with the words is told without it
    from sngan.runs.folder import RESULT
    from sngan.runs.records import read_result
    from sngan.training.loop import train

    name = config.run_dir.parent.name
    if cfg.run_dir is None and name == earlier_variant(overrides) != variant(overrides) and is_first():
        print(
            f"{config.run_dir} was named by an earlier version of sngan and keeps its name; a new run would be named {variant(overrides)}",
            flush=True,
        )
    train(config)
    quick = (read_result(config.run_dir / RESULT) or {}).get("quick")
    return float(next(iter(quick["scores"].values()))) if quick else None


def _folder(cfg: DictConfig) -> Path:
    return run_dir(to_dict(cfg), HydraConfig.get().overrides.task)
