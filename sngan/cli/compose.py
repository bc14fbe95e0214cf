"""From a composed DictConfig to the typed config: where hydra ends."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
from omegaconf import DictConfig, OmegaConf

from sngan.cli.hydra_app import configs, readable_errors
from sngan.config import Config, Section, parse
from sngan.errors import UserError
from sngan.training.run_folder import FREE

Schema = TypeVar("Schema", bound=Section)

NOT_A_VARIANT = {"seed", "experiment", *(".".join(key) for key in FREE)}
"""Overrides that do not name a run's folder: they have a place of their own in its path, or do not change what is trained."""


def compose(overrides: Sequence[str] = ()) -> Config:
    """The config of `sngan train OVERRIDES`, for use from Python: `sngan.train(sngan.compose(["loss=bce", "seed=1"]))`."""
    with readable_errors("train", overrides), hydra.initialize_config_dir(str(configs()), version_base="1.3"):
        return train_config(hydra.compose("train", list(overrides)), overrides)


def train_config(cfg: DictConfig, overrides: Sequence[str]) -> Config:
    """The typed config of a training run; its folder is named from the config where none is given."""
    values = to_dict(cfg)
    if values["protocol"]["name"] == "none":
        values["protocol"] = values["quick"] = None
    elif values["quick"]["name"] == "none":
        values["quick"] = None
    if values["run_dir"] is None:
        values["run_dir"] = str(Path("runs", str(values["name"]), variant(overrides), f"seed{values['seed']}"))
    return typed(Config, values)


def typed(schema: type[Schema], values: dict[str, Any]) -> Schema:
    """The checked config; the plugins that it names are imported first, because they register names."""
    for module in values["plugins"]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(
                f"plugins={module}: {error}; it must be importable from here (PYTHONPATH, or an installed package)"
            ) from None
    return parse(schema, values)


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """Plain values, interpolations resolved; `MissingMandatoryValue` for a key that must be given."""
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def variant(overrides: Sequence[str]) -> str:
    """A folder name for what was overridden: `loss-bce+optimizer.lr-1e-4`, `default` for nothing; long ones end in a hash.

    It has no character that would need quotes in `run=DIR`.
    """
    named = sorted(o.lstrip("+~") for o in overrides if not _is_free(o.lstrip("+~").split("=")[0]))
    text = "+".join(re.sub(r"[^A-Za-z0-9_.]+", "-", override).strip("-") for override in named) or "default"
    if len(text) <= 100:
        return text
    return f"{text[:90]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _is_free(key: str) -> bool:
    group = key.split("@")[-1]
    return any(group == free or group.startswith(f"{free}.") for free in NOT_A_VARIANT)
