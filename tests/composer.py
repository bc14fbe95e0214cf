"""Configs of many games, put together from what Hydra composes of each choice alone, a hundred times as fast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from sngan import Config, compose, registry
from sngan.cli.hydra_app import configs
from sngan.config import parse


class Composer:
    """`Composer(base, choices)(chosen)` is the config of `sngan train` with the words of `base` and of the chosen choices."""

    def __init__(self, base: Sequence[str], choices: Iterable[Sequence[str]]) -> None:
        self._words = list(base)
        self._base = compose(self._words).model_dump(mode="json")
        self._changes = {tuple(choice): self._change(choice) for choice in choices}

    def __call__(self, chosen: Iterable[Sequence[str]]) -> Config:
        values = {**self._base}
        for choice in chosen:
            for key, change in self._changes[tuple(choice)].items():
                partial = isinstance(change, dict) and "name" not in change
                values[key] = {**values[key], **change} if partial else change
        return parse(Config, values, build_check=False)

    def _change(self, choice: Sequence[str]) -> dict[str, Any]:
        """What a choice changes: a whole component, or some keys of a network."""
        overrides = [(str(o.key_or_group), o.value()) for o in OverridesParser.create().parse_overrides(list(choice))]
        change: dict[str, Any] = {}
        for key, value in overrides:
            first, _, rest = key.partition(".")
            if first in registry.PACKAGES and not rest:
                component = yaml.safe_load((configs() / first / f"{value}.yaml").read_text())
                if "defaults" in component:  # of others
                    composed = compose([*self._words, *choice]).model_dump(mode="json")
                    return {key: value for key, value in composed.items() if value != self._base[key] and key != "run_dir"}
                change[first] = component
            elif rest and value != self._base[first].get(rest):
                change.setdefault(first, {})[rest] = value
            elif not rest and value != self._base[first]:
                change[first] = value
        return change
