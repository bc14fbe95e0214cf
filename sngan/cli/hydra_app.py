"""Runs a command under Hydra, which parses overrides, flags and sweeps; its errors become `UserError`."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from sngan.errors import UserError, nearest
from sngan.keys import flat

FLAGS = {"--help", "-h", "--hydra-help", "--resolve", "--run", "-r", "--multirun", "-m", "--shell-completion", "-sc"}
VALUE_FLAGS = {
    "--config-dir": (),
    "--cfg": ("job", "hydra", "all"),
    "--package": (),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
"""Flags that take a value, and the values allowed; () allows any."""
SHORT = {"-cd": "--config-dir", "-c": "--cfg", "-p": "--package", "-i": "--info", "-cn": "--config-name", "-cp": "--config-path"}

INSTEAD = {
    "--config-name": "a command has one config: choose within it by experiment=NAME, add files of your own by --config-dir DIR",
    "--config-path": "add a folder of your own YAML files by --config-dir DIR",
    "--version": "sngan --version prints it",
    **dict.fromkeys(
        ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir"),
        "Hydra writes no files here; run_dir=DIR is the folder of a run, out=… what another command writes",
    ),
}
"""Hydra's flags and keys that have no use here, and what to use instead."""


OF_1_3 = hydra.__version__.startswith("1.3.")
RULES = {"version_base": "1.3"} if OF_1_3 else {}
"""Hydra's rules of composition: those of 1.3, which later versions have without being asked."""
TRUSTED: dict[str, Any] = {} if OF_1_3 else {"execution_whitelist": ["sngan.*"]}
"""What a config may name to be run, of which Hydra asks from 1.4 on; its own launchers and logging need no leave."""


EXTRAS = {
    "hydra/launcher=joblib": "sweep",
    "hydra/sweeper=optuna": "sweep",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
}
"""Choices that need an extra of the package, and its name."""


def needs_extra(choice: str) -> str:
    """The message for a choice whose extra is not installed."""
    return f"{choice} needs the extra {EXTRAS[choice]}, which is not installed: pip install 'sngan[{EXTRAS[choice]}]'"


def configs() -> Path:
    """The folder of the YAML files: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir())


@contextmanager
def composing() -> Iterator[None]:
    """Inside, Hydra can compose configs from the YAML files, even within a command that it runs."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(configs()), **RULES):
            yield
    finally:
        if before is not None:
            GlobalHydra.instance().initialize(before)


def call_hydra(command: str, job: Callable[[DictConfig], Any], words: list[str]) -> None:
    """Runs Hydra on the words of a command line with `job` as its application; raises `UserError` if they are wrong."""
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["sngan", *words]
    # Hydra prints what it catches unless this is set; with it, errors reach `readable_errors`
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with readable_errors(command, words), _mode_of(words):
            hydra.main(config_path=str(configs()), config_name=command, **RULES, **TRUSTED)(job)()
    finally:
        sys.argv = before[0]
        os.environ.pop("HYDRA_FULL_ERROR")
        if before[1] is not None:
            os.environ["HYDRA_FULL_ERROR"] = before[1]


@contextmanager
def _mode_of(words: Sequence[str]) -> Iterator[None]:
    """Inside, Hydra takes the mode from the words, and does not compose the whole config once more to look for `hydra.mode` in it.

    Files of the user's, of --config-dir, may set it; with them nothing is changed.
    """
    if {"--config-dir", "hydra.mode=MULTIRUN", "hydra.mode=RUN"} & set(words):
        yield
        return
    look = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = look  # type: ignore[method-assign]


def overrides_first(argv: list[str]) -> list[str]:
    """The words with all flags and their values at the end, because Hydra's parser expects the overrides in one piece.

    Raises `UserError` for a flag that is unknown or lacks its value, and for flags and keys of Hydra's that have no use here.
    """
    overrides, flags = [], []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        flag = SHORT.get(flag, flag)
        if flag.lstrip("+~") in INSTEAD:
            raise UserError(f"{word}: {INSTEAD[flag.lstrip('+~')]}")
        if not word.startswith("-"):
            overrides.append(word)
            continue
        if flag in FLAGS and not equals:
            flags.append(flag)
        elif flag in VALUE_FLAGS:
            value, allowed = value if equals else next(words, ""), VALUE_FLAGS[flag]
            if not value or (allowed and value not in allowed):
                raise UserError(f"{flag} {value}: needs {'one of ' + ', '.join(allowed) if allowed else 'a value'}")
            flags += [flag, value]
        else:
            raise UserError(f"unknown flag {word}; {nearest(flag, [f for f in FLAGS if f.startswith('--')] + list(VALUE_FLAGS))}")
    return overrides + flags


@contextmanager
def readable_errors(command: str, words: Sequence[str]) -> Iterator[None]:
    """Turns errors of Hydra and OmegaConf about the user's words into `UserError`."""
    try:
        yield
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if error.options is None or not group:
            raise UserError(_first_line(error)) from None
        if f"{group}={choice}" in EXTRAS:
            raise UserError(needs_extra(f"{group}={choice}")) from None
        raise UserError(f"{group}={choice}: no such choice; {nearest(choice, error.options)}") from None
    except OverrideParseException as error:
        raise UserError(
            f"{' '.join(str(error.override).split())}: not an override; write KEY=VALUE, "
            f"with quotes around text that has spaces, commas, brackets or '=': 'KEY=\"a, b\"'"
        ) from None
    except ConfigCompositionException as error:
        match = re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", str(error))
        if not match:
            raise UserError(_first_line(error)) from None
        raise UserError(_unknown_key(match[1], command, words)) from None
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is needed; give {error.full_key}=…") from None
    except (HydraException, OmegaConfBaseException) as error:
        if "INTERVAL_SWEEP" in str(error):
            raise UserError("interval(…) is for a search: add hydra/sweeper=optuna, or list values as in loss=hinge,bce") from None
        if match := re.match("Key '([^']+)' is not in struct", str(error)):  # ~KEY since Hydra 1.4
            raise UserError(_unknown_key(match[1], command, words)) from None
        raise UserError(_first_line(error)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"a config file is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        if not {"hydra", "omegaconf"} & set(Path(last).parts):
            raise  # not about the user's words
        raise UserError(f"{_first_line(error)}; a group takes the name of a choice, as in loss=hinge") from None


def _unknown_key(key: str, command: str, words: Sequence[str]) -> str:
    """The message for a key that does not exist: the keys that exist in its place."""
    for group, choices in (("launcher", "joblib, submitit_local or submitit_slurm"), ("sweeper", "optuna")):
        if key.startswith(f"hydra.{group}."):
            return f"{key}: no such key of this {group}; choose another with hydra/{group}=…, as {choices}"
    tree = _keys(command, words)
    parents, prefix = key.lstrip("+~").split("."), ""
    while len(parents) > 1 and isinstance(tree.get(parents[0]), dict):
        prefix, tree = f"{prefix}{parents[0]}.", tree[parents.pop(0)]
    if len(parents) > 1 and parents[0] in tree and (configs() / parents[0]).is_dir():
        return f"unknown key {key}: choose one with {parents[0]}=… first; allowed: {', '.join(_choices(parents[0]))}"
    if len(parents) == 1 and parents[0] in tree:  # it exists, so it was to be removed
        return f"{key}: this key cannot be removed"
    deeper = [name for name in flat(tree) if name.endswith(f".{parents[0]}")]
    if deeper:
        return f"unknown key {key}; did you mean {prefix}{min(deeper, key=len)}?"
    said = f"unknown key {key}; {nearest(prefix + parents[0], (prefix + name for name in tree))}"
    group = prefix.rstrip(".")
    return said + (f"; another {group}=… has other keys" if group and (configs() / group).is_dir() else "")


def _keys(command: str, words: Sequence[str]) -> dict[str, Any]:
    """The command's keys with the groups that the words choose (of a sweep the first choice), or by default if those cannot be composed."""
    choices = [word.split(",")[0] for word in words if (configs() / word.split("=")[0]).is_dir()]
    for overrides in (choices, []):
        try:
            with composing():
                tree = OmegaConf.to_container(hydra.compose(command, overrides), resolve=False)
        except (HydraException, OmegaConfBaseException):
            continue  # a choice from one's own --config-dir
        assert isinstance(tree, dict)
        return {str(key): value for key, value in tree.items()}
    return {}


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (configs() / group).glob("*.yaml"))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
