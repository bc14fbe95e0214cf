"""`sngan COMMAND --help [KEY]`: the groups and keys of a command with their values, and the comments on them in the YAML files of configs/."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import yaml
from omegaconf import OmegaConf

from sngan.cli.hydra_app import composing, configs, overrides_first, readable_errors
from sngan.errors import UserError
from sngan.keys import flat

HELP_FLAGS = {"--help", "-h"}
WIDTH, HEIGHT = 100, 40
"""The height of a screen; help without a KEY fits it."""

LINE = re.compile(r"(?P<indent> *)(?P<dash>- )?(?P<key>[\w@/.]+):(?: +(?P<value>[^ #].*?))?(?: +# *(?P<comment>.*))?")


def main(command: str, words: Sequence[str]) -> int:
    """Prints the help of a command and returns the exit code. Overrides beside --help are composed; words without '=' are KEYs."""
    plain = overrides_first([word for word in words if word not in HELP_FLAGS])
    n = next((i for i, word in enumerate(plain) if word.startswith("-")), len(plain))
    named, flags = [word for word in plain[:n] if "=" not in word and not word.startswith("~")], plain[n:]
    after = words[max(words.index(flag) for flag in HELP_FLAGS if flag in words) :]
    keys = [word for word in named if command not in ("report", "watch", "doctor") or word in after]  # before it they are paths
    manual = Manual.of(command, [word for word in plain[:n] if word not in named], flags)
    if not keys:
        print("\n".join(manual.screen()))
    elif keys == ["all"]:
        print("\n".join([*manual.introduction(), "", *manual.everything()]))
    else:
        print("\n\n".join("\n".join(manual.about(key)) for key in keys))
    return 0


@dataclass(frozen=True)
class Notes:
    """The comments of a YAML file."""

    header: str = ""
    """The comment above the first key."""
    keys: dict[str, str] = field(default_factory=dict)
    """The comment of each key, named with dots: on its line, or above its paragraph. An entry of the defaults list is `defaults.GROUP`."""


@cache  # help asks for a file once for each of its keys
def notes(file: Path) -> Notes:
    """The comments of a YAML file with one key on each line, indented by spaces, as all files of configs/ are written."""
    header: list[str] = []
    above, keys = "", dict[str, str]()
    parents: list[tuple[int, str]] = []
    for line in file.read_text().splitlines():
        comment = re.fullmatch(r" *# *(.*)", line)
        if comment and not keys:
            header.append(comment[1])
        elif comment or not line.strip():
            above = comment[1] if comment else ""
        elif found := LINE.fullmatch(line):
            depth = len(found["indent"]) + len(found["dash"] or "")
            parents = [*((d, key) for d, key in parents if d < depth), (depth, found["key"])]
            keys[".".join(key for _, key in parents)] = found["comment"] or (above if len(parents) == 1 else "")
    return Notes(" ".join(line for line in header if not line.startswith("@package")), keys)


@dataclass(frozen=True)
class Manual:
    """The help of a command whose config is composed."""

    command: str
    text: str
    """What it does, its usage and examples."""
    values: Mapping[str, Any]
    chosen: Mapping[str, str | None]
    """The choice of each group, such as `loss` or `protocol@quick`."""
    folders: Sequence[Path]
    """The folders of YAML files, in order of search: those of --config-dir, then configs/."""

    @classmethod
    def of(cls, command: str, overrides: Sequence[str], flags: Sequence[str]) -> Manual:
        """Composes the command's config; for a sweep, which has several, the default one."""
        own = [Path(flags[i + 1]).absolute() for i, flag in enumerate(flags) if flag == "--config-dir"]
        for folder in own:
            if not folder.is_dir():
                raise UserError(f"--config-dir {folder}: no such folder")
        if {"-m", "--multirun"} & set(flags):
            overrides = []
        search = [f"hydra.searchpath={json.dumps([f'file://{folder}' for folder in own])}"] if own else []
        with readable_errors(command, overrides), composing():
            cfg = hydra.compose(command, [*overrides, *search], return_hydra_config=True)
            values = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(values, dict)
        settings = values.pop("hydra")
        choices = reversed(settings["runtime"]["choices"].items())  # Hydra has the last of the defaults list first
        chosen = {group: choice for group, choice in choices if not group.startswith("hydra/")}
        tree = {str(key): value for key, value in values.items()}
        return cls(command, settings["help"]["template"].strip(), tree, chosen, [*own, configs()])

    def introduction(self) -> list[str]:
        """What the command does, its usage and examples."""
        return self.text.splitlines()

    def screen(self) -> list[str]:
        """Help that fits a screen: the comments on all keys if there is room for them, else the keys alone."""
        names = [
            "groups, GROUP=CHOICE (* is what it is now):",
            *table([(group, ", ".join(self._marked(group))) for group in self.chosen]),
        ]
        loose = [f"{key}.*" if isinstance(value, dict) else f"{key}={shown(value)}" for key, value in self._loose().items()]
        keys = textwrap.wrap("  ".join(loose), WIDTH, initial_indent="  ", subsequent_indent="  ", **UNBROKEN)
        hints = [
            "",
            f"sngan {self.command} --help KEY  what a key, group or section means: {self._examples()}",
            f"sngan {self.command} --help all  what all of them mean",
        ]
        whole, meanings, brief = self.everything(), [*names, *self._keys(), *hints], [*names, KEYS, *keys, *hints]
        room = HEIGHT - len(self.introduction()) - 1
        return [*self.introduction(), "", *next((page for page in (whole, meanings) if len(page) <= room), brief)]

    def everything(self) -> list[str]:
        """Each group and key in full."""
        pages = [*map(self._group, self.chosen), self._keys()]
        pages += [self._section(key) for key, value in self._loose().items() if isinstance(value, dict)]
        return "\n\n".join("\n".join(page) for page in pages).splitlines()

    def about(self, key: str) -> list[str]:
        """Help on a key, a group or a section; `UserError` with the nearest names if there is no such key."""
        group = next((group for group in self.chosen if key in (group, group.split("@")[-1])), None)
        if group:
            return self._group(group)
        keys = flat(self.values)
        if key in keys:
            return self._rows({key: keys[key]})
        if isinstance(self.values.get(key), dict):
            return self._section(key)
        raise UserError(f"--help {key}: sngan {self.command} has no such key; {self._instead(key, keys)}")

    def _loose(self) -> dict[str, Any]:
        """Keys and sections that are not set by a group."""
        groups = {group.split("@")[-1] for group in self.chosen}
        return {key: value for key, value in self.values.items() if key not in groups}

    def _keys(self) -> list[str]:
        return [KEYS, *self._rows({key: value for key, value in self._loose().items() if not isinstance(value, dict)})]

    def _group(self, group: str) -> list[str]:
        section, meaning = group.split("@")[-1], self._meaning(f"defaults.{group}", self._files())
        lines = [f"{group}=CHOICE" + (f": {meaning}" if meaning else "")]
        lines = textwrap.wrap(lines[0], WIDTH, subsequent_indent="  ", **UNBROKEN)
        choices = zip(self._marked(group), self._choices(group), strict=True)
        lines += table([(marked, self._about_choice(group, choice)) for marked, choice in choices])
        if self._section_of_a_group(section):
            options = {key: value for key, value in flat(self.values[section], f"{section}.").items() if key != f"{section}.name"}
            lines += [f"keys of {group}={self.chosen[group]}:", *self._rows(options)] if options else []
        return lines

    def _section(self, section: str) -> list[str]:
        meaning = self._meaning(section, self._files())
        return [f"{section}" + (f": {meaning}" if meaning else ""), *self._rows(flat(self.values[section], f"{section}."))]

    def _rows(self, values: Mapping[str, Any]) -> list[str]:
        rows = []
        for key, value in values.items():
            needed = value == "???"
            rows.append((f"{key}={'…' if needed else shown(value)}", ("needed: " if needed else "") + self._about_key(key)))
        return table(rows)

    def _about_key(self, key: str) -> str:
        section, _, rest = key.partition(".")
        group = self._section_of_a_group(section)
        if not group:
            return self._meaning(key, self._files())
        meaning = self._meaning(rest, self._files(group, self.chosen[group]))
        return meaning.replace(f"{group.split('@')[0]}.", f"{section}.")

    def _about_choice(self, group: str, choice: str) -> str:
        """The comment on a choice, above its first key or beside its name; without one, the values that it sets."""
        file = self._find(f"{group.split('@')[0]}/{choice}")
        if file is None:
            return ""
        said, content = notes(file), read(file)
        settings = {key: value for key, value in flat(content).items() if key.split(".")[0] not in ("defaults", "hydra", "name")}
        return said.header or said.keys.get("name", "") or " ".join(f"{key}={shown(value)}" for key, value in settings.items())

    def _meaning(self, key: str, files: Iterable[Path]) -> str:
        return next((said for file in files if (said := notes(file).keys.get(key))), "")

    def _files(self, group: str | None = None, choice: str | None = None) -> Iterator[Path]:
        """The file of a group's choice, or of the command, and those that it includes, the nearest first."""
        file = self._find(f"{group.split('@')[0]}/{choice}" if group else self.command)
        if file:
            yield from self._with_included(file)

    def _with_included(self, file: Path) -> Iterator[Path]:
        yield file
        for entry in read(file).get("defaults", []):
            if isinstance(entry, str) and entry != "_self_":
                name = entry.split("@")[0]
                included = self._find(name[1:]) if name.startswith("/") else file.parent / f"{name}.yaml"
                if included and included.is_file():
                    yield from self._with_included(included)

    def _find(self, name: str) -> Path | None:
        return next((file for folder in self.folders if (file := folder / f"{name}.yaml").is_file()), None)

    def _choices(self, group: str) -> list[str]:
        return sorted({file.stem for folder in self.folders for file in (folder / group.split("@")[0]).glob("*.yaml")})

    def _marked(self, group: str) -> list[str]:
        return [f"{choice}*" if choice == self.chosen[group] else choice for choice in self._choices(group)]

    def _section_of_a_group(self, section: str) -> str | None:
        """The group that sets a section of the config: `protocol@quick` for `quick`."""
        groups = (group for group, choice in self.chosen.items() if choice and group.split("@")[-1] == section)
        return next(groups, None) if isinstance(self.values.get(section), dict) else None

    def _examples(self) -> str:
        section = next((key for key, value in self._loose().items() if isinstance(value, dict)), None)
        key = next(iter(flat(self.values[section], f"{section}.") if section else self._loose()))
        return ", ".join(name for name in (next(iter(self.chosen), None), section, key) if name)

    def _instead(self, key: str, keys: Mapping[str, Any]) -> str:
        """A hint: the choices of the group that have the key, or the keys with the nearest names."""
        group, _, rest = key.partition(".")
        if rest and group in self.chosen:
            having = [choice for choice in self._choices(group) if any(rest in notes(f).keys for f in self._files(group, choice))]
            if having:
                options = " or ".join(f"{group}={choice}" for choice in having)
                return f"with {options} there is: sngan {self.command} {group}={having[0]} --help {key}"
        ends: dict[str, list[str]] = {}
        for name in [*keys, *self.values, *self.chosen]:
            for end in (name, name.rpartition(".")[2]):
                ends.setdefault(end, []).append(name)
        near = dict.fromkeys(name for end in get_close_matches(key, ends, n=3) for name in ends[end])
        suggested = f"did you mean {', '.join(list(near)[:3])}? " if near else ""
        return f"{suggested}sngan {self.command} --help all shows them all"


KEYS = "keys, KEY=VALUE:"

UNBROKEN: Any = {"break_long_words": False, "break_on_hyphens": False}


def table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Two columns, a name and its description; a long name has a line of its own."""
    column = min(max((len(name) for name, _ in rows), default=0), 36)
    lines: list[str] = []
    for name, said in rows:
        beside = f"  {name:<{column}}  "
        if len(name) > column and said:
            lines.append(f"  {name}")
            beside = " " * (column + 4)
        wrapped = textwrap.wrap(said, WIDTH, initial_indent=beside, subsequent_indent=" " * (column + 4), **UNBROKEN)
        lines += wrapped or [f"  {name}"]
    return lines


def shown(value: Any) -> str:
    """A value as written on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


@cache
def read(file: Path) -> dict[str, Any]:
    """The content of a YAML file."""
    content = yaml.safe_load(file.read_text())
    return content if isinstance(content, dict) else {}
