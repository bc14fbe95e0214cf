"""The folder of a run: `runs/<name>/<variant>/seed<seed>`, where the variant names the overrides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sngan.config import FREE
from sngan.errors import UserError
from sngan.files import read_object
from sngan.keys import is_among

NOT_A_VARIANT = {"seed", "experiment", "sweep", "data.sha256", *FREE}
"""Overrides that are not part of the variant: they have a place of their own in the path, are long, or do not change what is trained."""

LONGEST = 100
"""The longest name of a variant; a longer one is cut, and gets a hash."""


def run_dir(values: Mapping[str, Any], overrides: Sequence[str]) -> Path:
    """The folder of a run: `run_dir`, or else a name made from the overrides.

    If that name belongs to a run whose overrides name other paths with the same last part, a hash is added to the new one. A run that an
    earlier version of sngan began under another name keeps it.
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
    """A folder name for overrides: `loss-bce+optimizer.lr-1e-4`, or `default` if there are none. Paths are shortened to their last part.

    It has no character that would need quotes in `run=DIR`. A name that is cut, or any with `hashed`, ends in a hash of all overrides.
    """
    named = _named(overrides)
    text = "+".join(_spelt(f"{key}={_last_part(value)}" if value else key) for key, value in sorted(named.items())) or "default"
    if len(text) <= LONGEST and not hashed:
        return text
    return f"{text[: LONGEST - 10]}-{_hash(f'{key}={value}' for key, value in sorted(named.items()))}"


def earlier_variant(overrides: Iterable[str]) -> str:
    """The name in the first versions: with whole paths, and with a hash if a character was replaced or the name was cut."""
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
    """Whether a run in the folder, of any seed, was given other paths than these values hold."""
    keys = [key for key, value in _named(overrides).items() if _last_part(value) != _unquoted(value)]
    if not keys:
        return False
    for file in sorted(folder.glob("seed*/config.json")):
        try:
            before = read_object(file) or {}
        except UserError:
            continue  # the run itself reports what is wrong with it
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
