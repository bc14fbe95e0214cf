"""What the folder of a run is called: `runs/<name>/<variant>/seed<seed>`, where the variant is what was overridden."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sngan.errors import UserError
from sngan.files import read_json
from sngan.keys import is_among
from sngan.runs.folder import FREE

NOT_A_VARIANT = {"seed", "experiment", "sweep", *FREE}
"""Overrides that do not name a run's folder: they have a place of their own in its path, or do not change what is trained."""

LONGEST = 100
"""The longest name of a variant; a longer one is cut, and gets a hash."""


def run_dir(values: Mapping[str, Any], overrides: Sequence[str]) -> Path:
    """The folder of a run: the one that is given, or else named from what was overridden.

    A run of other paths that end in the same name keeps its folder; this one's name has a hash then. A run that an earlier version named
    otherwise keeps its name too.
    """
    if values.get("run_dir"):
        return Path(values["run_dir"])
    home, name = Path("runs", str(values["name"])), variant(overrides)
    others = (variant(overrides, hashed=True), earlier_variant(overrides))
    kept = next((other for other in others if other != name and (home / other).is_dir()), None)
    if kept:
        name = kept
    elif values.get("resume") != "force" and _is_of_other_paths(home / name, values, overrides):
        name = others[0]
    return home / name / f"seed{values['seed']}"


def variant(overrides: Iterable[str], *, hashed: bool = False) -> str:
    """A folder name for what was overridden: `loss-bce+optimizer.lr-1e-4`, `default` for nothing; of a path its last part.

    It has no character that would need quotes in `run=DIR`. Where it is cut, or with `hashed`, it ends in a hash of the whole.
    """
    named = _named(overrides)
    text = "+".join(_spelt(f"{key}={_last_part(value)}" if value else key) for key, value in sorted(named.items())) or "default"
    if len(text) <= LONGEST and not hashed:
        return text
    return f"{text[: LONGEST - 10]}-{_hash(f'{key}={value}' for key, value in sorted(named.items()))}"


def earlier_variant(overrides: Iterable[str]) -> str:
    """The name that the first versions gave: whole paths, and a hash wherever anything was spelt otherwise."""
    free = NOT_A_VARIANT - {"data.root", "data.download"}
    named = sorted(o.lstrip("+~") for o in overrides if not _is_free(o.lstrip("+~").split("=")[0], free))
    text = "+".join(map(_spelt, named)) or "default"
    if len(text) <= 100 and all(re.fullmatch(r"[^=]+=[A-Za-z0-9_.-]*", override) for override in named):
        return text
    return f"{text[:90]}-{_hash(named)}"


def _named(overrides: Iterable[str]) -> dict[str, str]:
    """The keys and values that name a run; for a key given twice the last value, as in Hydra."""
    pairs = (override.lstrip("+~").partition("=")[::2] for override in overrides)
    return {key: value for key, value in pairs if not _is_free(key, NOT_A_VARIANT)}


def _is_of_other_paths(folder: Path, values: Mapping[str, Any], overrides: Iterable[str]) -> bool:
    """Whether the runs there, of whatever seed, were given other paths than these values have."""
    keys = [key for key, value in _named(overrides).items() if _last_part(value) != _unquoted(value)]
    if not keys:
        return False
    for file in sorted(folder.glob("seed*/config.json")):
        try:
            before = read_json(file) or {}
        except UserError:
            continue  # of what is wrong with it, the run speaks
        if any(_value(before, key) != _value(values, key) for key in keys):
            return True
    return False


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _last_part(value: str) -> str:
    """The last part of a path; any other value as it is."""
    value = _unquoted(value)
    return value if value.startswith(("[", "{")) else Path(value).name if "/" in value else value


def _spelt(override: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", override).strip("-")


def _hash(words: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]


def _is_free(key: str, free: set[str]) -> bool:
    return is_among(key.split("@")[-1], free)
