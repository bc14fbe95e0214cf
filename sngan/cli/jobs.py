"""A command as one job, or as each job of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sngan.cli.commands import LESS
from sngan.cli.hydra_app import call_hydra, configs, overrides_first, readable_errors
from sngan.cli.registered import offer_registered
from sngan.errors import UserError, naming_memory


def run(
    command: str, task: Callable[[DictConfig], Any], argv: list[str], *, folder: Callable[[DictConfig], Path] | None = None
) -> int:
    """Runs `task` on the composed config, once or for each job of a sweep, and returns the exit code: 2 after a user's mistake.

    `folder` gives the folder of a task's results, which a sweep reads when the task has ended.
    """
    words, task = overrides_first(argv), partial(_in_memory, command, task)
    offer_registered(words)
    if {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(words):
        from sngan.cli.sweeps.search import register_sweeper
        from sngan.cli.sweeps.sweeps import run_sweep

        register_sweeper()
        _refuse_swept_sweeps(words)
        return run_sweep(command, words, task, folder)
    _refuse_without_sweep(words)
    failed = False

    def job(cfg: DictConfig) -> None:
        nonlocal failed
        try:
            with readable_errors(command, words):
                task(cfg)
        except UserError as error:
            if not error.said:
                print(f"sngan: {error}", file=sys.stderr)
            failed = True

    call_hydra(command, job, words)
    return 2 if failed else 0


def _in_memory(command: str, task: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    with naming_memory(f"{command} runs out of memory; {LESS[command]}"):
        return task(cfg)


def _refuse_swept_sweeps(words: Sequence[str]) -> None:
    """Raises `UserError` for `-m experiment=A,B` if A is a sweep itself, because Hydra would silently leave out its rows."""
    for word in words:
        key, _, value = word.partition("=")
        names = value.split(",")
        if key == "experiment" and len(names) > 1:
            for path in (configs() / "experiment" / f"{name}.yaml" for name in names):
                if path.is_file() and OmegaConf.select(OmegaConf.load(path), "hydra.sweeper.params"):
                    raise UserError(
                        f"{word}: {path.stem} is a sweep itself and would lose its rows; sweep it alone, in a command of its own"
                    )


def _refuse_without_sweep(words: Sequence[str]) -> None:
    """Raises `UserError` for words that only a sweep uses, because Hydra would silently run a single job."""
    for word in words:
        if word.partition("=")[0] in ("hydra/launcher", "hydra/sweeper", "sweep"):
            raise UserError(f"{word} is for sweeps: add -m")
