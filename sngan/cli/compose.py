"""From Hydra's composed config to the typed one; no other part of the package but cli/ knows Hydra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import hydra
from omegaconf import DictConfig, OmegaConf

from sngan.cli.hydra_app import composing, readable_errors
from sngan.cli.plugins import import_plugin
from sngan.cli.registered import offer_registered
from sngan.cli.run_names import run_dir
from sngan.config import Config, Section, parse

Schema = TypeVar("Schema", bound=Section)


def compose(overrides: Sequence[str] = ()) -> Config:
    """The config of `sngan train OVERRIDES`, for use from Python: `sngan.train(sngan.compose(["loss=bce", "seed=1"]))`."""
    return train_config(composed("train", overrides), overrides)


def composed(command: str, overrides: Sequence[str]) -> DictConfig:
    """Hydra's config of a command line, for use from Python; raises `UserError` as the command does."""
    offer_registered(overrides)
    with readable_errors(command, overrides), composing():
        return hydra.compose(command, list(overrides))


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


def to_dict(cfg: DictConfig) -> dict[str, Any]:
    """Plain values, interpolations resolved; `UserError` for a key that must be given."""
    with readable_errors("", ()):
        values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
