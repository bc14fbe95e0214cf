"""`sngan.train`: trains a run, or continues one, from Python."""

from __future__ import annotations

from typing import Any

from sngan.api.run import Run
from sngan.api.words import own_data, words_of
from sngan.cli.compose import compose
from sngan.config import Config
from sngan.errors import UserError
from sngan.training import loop


def train(*config: Config | str, data: Any = None, **keys: Any) -> Run:
    """Trains the run, or continues it, and gives it: `sngan.train("optimizer.lr=1e-4", loss="bce", steps=100, data=images)`.

    `config` is a `Config`, or overrides as on the command line; `keys` are further ones, with sections as dicts. `data` is the name of a
    data set or images: an array, a data set of torch, or `OwnImages`, which also takes labels, float images and a test split. The run's
    config then holds the hash of their content, and a run that is continued must be given the same content.

    Everything is checked before the first step. SIGINT, SIGTERM and a cluster's signals save and raise `Interrupted`. Raises `UserError`
    for what cannot be done, and for a loss that is not finite.
    """
    if data is not None:
        keys["data"] = data
    if config and isinstance(config[0], Config):
        if len(config) > 1 or keys:
            raise UserError("a Config is whole; edit it by config.model_copy(update={…}), or give keys alone")
        chosen = config[0]
    else:
        chosen = compose([*(str(word) for word in config), *words_of(own_data(keys))])
    loop.train(chosen)
    return Run(chosen.run_dir)
