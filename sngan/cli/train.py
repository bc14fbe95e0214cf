"""`sngan train`: trains a GAN, or continues one."""

from __future__ import annotations

import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sngan.cli.compose import train_config
from sngan.cli.hydra_app import run
from sngan.training.loop import train
from sngan.training.stop import Interrupted


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code."""
    try:
        return run("train", _train, argv)
    except Interrupted as stop:
        print(f"sngan: interrupted by {stop}", file=sys.stderr)
        return 128 + stop.signum


def _train(cfg: DictConfig) -> None:
    train(train_config(cfg, HydraConfig.get().overrides.task))
