"""Which runs differ by their seed alone, and in which config keys the others differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sngan.keys import flat, is_among
from sngan.runs.run import Run

NOT_COMPARED = {
    "seed",
    "run_dir",
    "log_every",
    "sample_every",
    "save_every",
    "keep",
    "resume",
    "plugins",
    "data.root",
    "data.download",
    "data.resident_mb",
    "data.workers",
}
"""Config keys that leave runs of one setting: they do not change what is trained or scored. The seed is what one takes the mean over."""

MOST_KEYS = 3
"""Differing keys in the name of a setting; with more the run folder's name says less and is shorter."""


N_COLOURS = 8
"""Settings with a colour of their own; further ones are grey."""


@dataclass(frozen=True)
class Setting:
    """Runs that differ by their seed."""

    number: int
    """Its place in the ranking; the first ones have colours of their own."""
    label: str
    options: dict[str, str]
    """The config keys in which settings differ."""
    runs: Sequence[Run]

    @property
    def colour(self) -> int:
        """The number of its colour in every table and chart."""
        return min(self.number, N_COLOURS)


def settings(runs: Sequence[Run]) -> list[Setting]:
    """The runs by setting, in the order in which settings first occur."""
    configs = [{key: text for key, text in as_text(run.config).items() if not is_among(key, NOT_COMPARED)} for run in runs]
    together: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        together.setdefault(json.dumps(config, sort_keys=True), []).append(i)
    keys = differing(configs)
    found: dict[str, Setting] = {}
    for members in together.values():
        config, first = configs[members[0]], runs[members[0]]
        options = dict.fromkeys(map(_short, keys), "–")  # `protocol` is null where there is no protocol.name
        options |= {_short(key): config[key] for key in keys if key in config}
        label = ", ".join(f"{_last_part(key, options)}={text}" for key, text in options.items())
        if not keys or len(keys) > MOST_KEYS:
            label = first.path.parent.name if re.fullmatch(r"seed\d+", first.path.name) else first.path.name
        label = label if label and label not in found else str(first.path)
        found[label] = Setting(len(found), label, options, [runs[i] for i in members])
    return list(found.values())


def common(configs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The keys and values that all runs share."""
    return {key: text for key, text in configs[0].items() if all(config.get(key) == text for config in configs)}


def differing(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys in which the runs differ, in the order of the configs.

    An option that some components lack, and that is the same wherever it is, says nothing beside the component's name.
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    found = [key for key in keys if len({config.get(key) for config in configs}) > 1]

    def goes_without_saying(key: str) -> bool:
        component = f"{key.rpartition('.')[0]}.name"
        return component != key and component in found and len({config[key] for config in configs if key in config}) == 1

    return [key for key in found if not goes_without_saying(key)]


def as_text(config: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a config, named with dots, and their values as one would write them."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat(config).items()}


def _short(key: str) -> str:
    """`loss.name` is `loss`, as on the command line."""
    return key.removesuffix(".name")


def _last_part(key: str, keys: Iterable[str]) -> str:
    """`optimizer.lr` is `lr`, where no other key ends so."""
    end = key.rpartition(".")[2]
    return end if sum(other.rpartition(".")[2] == end for other in keys) == 1 else key
