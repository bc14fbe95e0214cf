"""`sngan train`: trains a GAN, or continues one."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sngan.cli.compose import run_dir, to_dict, train_config
from sngan.cli.jobs import run
from sngan.files import read_json
from sngan.runs.folder import RESULT
from sngan.signals import Interrupted
from sngan.training.loop import train


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    try:
        return run("train", _train, argv, folder=_folder)
    except Interrupted as stop:
        print(f"sngan: interrupted by {stop}", file=sys.stderr)
        return 128 + stop.signum


def _train(cfg: DictConfig) -> float | None:
    """Gives the best quick score of the run, by the first metric, for a sweeper that searches; None without scores."""
    config = train_config(cfg, HydraConfig.get().overrides.task)
    train(config)
    quick = (read_json(config.run_dir / RESULT) or {}).get("quick")
    return float(next(iter(quick["scores"].values()))) if quick else None


def _folder(cfg: DictConfig) -> Path:
    return run_dir(to_dict(cfg), HydraConfig.get().overrides.task)
