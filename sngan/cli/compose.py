"""From Hydra's composed config to the typed one; no other part of the package but cli/ knows Hydra."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import hydra
from omegaconf import DictConfig, OmegaConf

from sngan.cli.hydra_app import configs, readable_errors
from sngan.cli.run_names import run_dir
from sngan.config import Config, Section, parse
from sngan.errors import UserError

Schema = TypeVar("Schema", bound=Section)


def compose(overrides: Sequence[str] = ()) -> Config:
    """The config of `sngan train OVERRIDES`, for use from Python: `sngan.train(sngan.compose(["loss=bce", "seed=1"]))`."""
    with readable_errors("train", overrides), hydra.initialize_config_dir(str(configs()), version_base="1.3"):
        return train_config(hydra.compose("train", list(overrides)), overrides)


def train_config(cfg: DictConfig, overrides: Sequence[str]) -> Config:
    """The typed config of a training run; its folder is named from the config if none is given."""
    return typed(Config, run_values(cfg, overrides))


def run_values(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The values of a run's config before they are checked."""
    values = to_dict(cfg)
    for key in ("protocol", "quick"):
        if takes_no_score(values.get(key)):
            values[key] = None
    if values.get("protocol") is None:
        values["quick"] = None
    if values.get("run_dir") is None and "seed" in values:
        values["run_dir"] = str(run_dir(values, overrides))
    return values


def takes_no_score(protocol: Any) -> bool:
    """Whether this is `protocol=none`."""
    return isinstance(protocol, dict) and protocol.get("name") == "none"


def typed(schema: type[Schema], values: dict[str, Any]) -> Schema:
    """The checked config; the plugins that it names are imported first, because they register names."""
    plugins = values.get("plugins")
    for module in plugins if isinstance(plugins, list) else ():
        if isinstance(module, str):
            import_plugin(module)
    return parse(schema, values)


def import_plugin(module: str) -> None:
    """Imports a module by name, from the working folder or as installed; `UserError` says what is wrong with it."""
    sys.path.insert(0, os.getcwd())  # a console script does not look there
    try:
        importlib.import_module(module)
    except Exception as error:  # a plugin is foreign code and may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"plugins={module}: {reason}; give a module that can be imported from this folder") from None
    finally:
        sys.path.pop(0)


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """Plain values, interpolations resolved; `MissingMandatoryValue` for a key that must be given."""
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
