"""From the config of a run back to the overrides that compose it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
import yaml
from omegaconf import OmegaConf

from sngan.cli.compose import takes_no_score
from sngan.cli.hydra_app import composing, configs, readable_errors
from sngan.errors import UserError
from sngan.keys import flat

GROUPS = {
    "generator": "generator",
    "discriminator": "discriminator",
    "loss": "loss",
    "regularizer": "regularizer",
    "augment": "augment",
    "data": "data",
    "protocol": "protocol",
    "quick": "protocol@quick",
    "extractor": "extractor",
}
"""Sections of the config, and the group that chooses each."""

NOTHING = object()
"""Stands for a missing key."""

MOST_KEYS = 1000
"""Keys of a config that was made by no command line; Hydra would take minutes for each ten thousand."""

Flat = dict[str, Any]


def overrides_for(config: Mapping[str, Any]) -> list[str] | None:
    """Overrides with which `sngan train` composes exactly this config, except for `run_dir`, starting from the nearest experiment.

    They are tested before they are returned; None if there are none. The config may be a stranger's: it is compared as plain values,
    nothing that it names is imported, and text that OmegaConf would interpolate is not written.
    """
    wanted = _flat(config)
    if len(wanted) > MOST_KEYS:
        return None
    experiments = _choices("experiment", wanted.get("name")) or _choices("experiment")
    try:
        with composing():
            words, found = _nearest([[f"experiment={choice}"] for choice in experiments], wanted)
            for section, group in GROUPS.items():
                if any(key.split(".")[0] == section for key in _differences(found, wanted)):
                    choices = _choices(group.split("@")[0], wanted.get(f"{section}.name", "none"))
                    words, found = _nearest([words, *([*words, f"{group}={choice}"] for choice in choices)], wanted)
            words += [_override(key, found, wanted) for key in _differences(found, wanted)]
            return words if _composed(words) == wanted else None
    except UserError:
        return None


def _choices(group: str, name: Any = None) -> list[str]:
    """A group's choices or, because composing all of them takes seconds, those whose component has this name."""
    files = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((configs() / group).glob("*.yaml"))}
    return [stem for stem, content in files.items() if name is None or content.get("name", stem) == name]


def _nearest(candidates: Sequence[list[str]], wanted: Flat) -> tuple[list[str], Flat]:
    """The words whose config differs from the one wanted in the fewest keys, and that config; the first of equals."""
    composed = [(words, found) for words in candidates if (found := _composed(words)) is not None]
    if not composed:
        raise UserError("no experiment could be composed")
    return min(composed, key=lambda pair: len(_differences(pair[1], wanted)))


def _composed(words: list[str]) -> Flat | None:
    try:
        with readable_errors("train", words):
            values: Any = OmegaConf.to_container(hydra.compose("train", words), resolve=True)  # what must be given is '???' so far
    except UserError:
        return None
    for key in ("protocol", "quick"):
        if takes_no_score(values.get(key)) or (key == "quick" and values.get("protocol") is None):
            values[key] = None
    return _flat(values)


def _flat(values: Mapping[str, Any]) -> Flat:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in flat(values).items() if key != "run_dir"}


def _differences(found: Flat, wanted: Flat) -> list[str]:
    return [key for key in [*wanted, *(found.keys() - wanted.keys())] if found.get(key, NOTHING) != wanted.get(key, NOTHING)]


def _override(key: str, found: Flat, wanted: Flat) -> str:
    if not re.fullmatch(r"\w+(\.\w+)*", key):
        raise UserError(f"{key} is no key")
    if key not in wanted:
        return f"~{key}"
    return f"{'' if key in found else '+'}{key}={written(wanted[key])}"


def written(value: Any) -> str:
    """A plain value in Hydra's grammar; `UserError` for text that it would read as something else."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z_/.][\w./-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    if "${" in value or not value.isprintable():
        raise UserError("text that would be read as something else")
    # a backslash is one but before a quote
    escaped = re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + ('\\"' if m[2] else ""), value)
    return f'"{escaped}"'
