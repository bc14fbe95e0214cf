"""What was registered without a YAML file, in a notebook, a script or a plugin, as a choice of its group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from sngan import registry
from sngan.cli.hydra_app import configs
from sngan.cli.plugins import import_plugin

PROVIDER = "registered"
"""Whose offers Hydra's store holds."""

BEYOND_OPTIONS: dict[str, dict[str, Any]] = {
    "data": {"defaults": ["/loading@_here_", "_self_"]},
    "generator": {"defaults": ["/normalization@_here_", "_self_"], "normalization": "none"},
    "discriminator": {"defaults": ["/normalization@_here_", "_self_"]},
}
"""What the files of a group hold besides the name and the options of a builder."""


def offer_registered(words: Sequence[str]) -> None:
    """Imports the plugins that the words name, and offers each registered name that has no YAML file, with its signature's defaults.

    A YAML file of the same name, such as one of --config-dir, is preferred. Raises `UserError` for a plugin that cannot be imported.
    """
    store = ConfigStore.instance()
    folders = [configs(), *(Path(folder) for flag, folder in pairwise(words) if flag == "--config-dir")]
    for word in words:
        if word.startswith("plugins="):
            for module in _list(word):
                import_plugin(module)
    for group in registry.PACKAGES:
        for file, node in list(store.repo.get(group, {}).items()):
            if node.provider == PROVIDER:
                del store.repo[group][file]  # Hydra would take it as the schema of a file of this name
        for name in registry.registered(group):
            if not any((folder / group / f"{name}.yaml").is_file() for folder in folders):
                options = {**dict.fromkeys(registry.options(group, name), "???"), **registry.defaults(group, name)}
                node = {**BEYOND_OPTIONS.get(group, {}), "name": name, **options}
                store.store(name=name, group=group, node=node, provider=PROVIDER)


def _list(word: str) -> list[str]:
    try:
        value = OverridesParser.create().parse_override(word).value()
    except OverrideParseException:
        return []  # composing says what is wrong with it
    return [str(module) for module in value] if isinstance(value, list) else []
