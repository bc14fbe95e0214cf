"""Running a command under Hydra: its overrides, flags and sweeps are Hydra's; its errors are ours."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import sngan
from sngan.errors import UserError, nearest

FLAGS = {"--help", "-h", "--hydra-help", "--resolve", "--run", "-r", "--multirun", "-m", "--shell-completion", "-sc"}
TAKES_VALUE = {
    "--config-dir",
    "-cd",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--package",
    "-p",
    "--cfg",
    "-c",
    "--info",
    "-i",
}


def configs() -> Path:
    """The folder of the YAML files: inside an installed package, beside it in a checkout."""
    package = Path(sngan.__file__).parent
    return next(folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir())


def run(command: str, task: Callable[[DictConfig], Any], argv: list[str]) -> int:
    """Runs `task` on the composed config, once or for each job of a sweep, and returns the exit code.

    A job that raises `UserError` leaves its message and the others go on; the exit code is then 2.
    """
    failed = []

    def job(cfg: DictConfig) -> Any:
        try:
            with readable_errors(command, argv):
                return task(cfg)
        except UserError as error:
            print(f"sngan: {error}", file=sys.stderr)
            failed.append(error)
            return None

    before = sys.argv
    sys.argv = ["sngan", *overrides_first(argv)]
    # Hydra prints what it catches unless this is set; with it, errors reach `readable_errors`
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with readable_errors(command, argv):
            hydra.main(version_base="1.3", config_path=str(configs()), config_name=command)(job)()
    finally:
        sys.argv = before
    return 2 if failed else 0


def overrides_first(argv: list[str]) -> list[str]:
    """The same words with flags (and their values) last: Hydra's parser wants its overrides in one piece. `UserError` for an unknown flag."""
    overrides, flags = [], []
    words = iter(argv)
    for word in words:
        if word.startswith("-"):
            if word not in FLAGS | TAKES_VALUE:
                raise UserError(
                    f"unknown flag {word}; {nearest(word, (flag for flag in FLAGS | TAKES_VALUE if flag.startswith('--')))}"
                )
            flags.append(word)
            if word in TAKES_VALUE:
                flags.extend(value for value in [next(words, None)] if value is not None)
        else:
            overrides.append(word)
    return overrides + flags


@contextmanager
def readable_errors(command: str, words: Sequence[str]) -> Iterator[None]:
    """Turns what Hydra and OmegaConf raise about the user's words into `UserError`."""
    try:
        yield
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if error.options is None or not group:
            raise UserError(_first_line(error)) from None
        raise UserError(f"{group}={choice}: no such choice; {nearest(choice, error.options)}") from None
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: not an override; write KEY=VALUE, with quotes around text that has spaces, commas, brackets or '=': 'KEY=\"a, b\"'"
        ) from None
    except ConfigCompositionException as error:
        match = re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", str(error))
        if not match:
            raise UserError(_first_line(error)) from None
        raise UserError(_unknown_key(match[1], command, words)) from None
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is needed; give {error.full_key}=…") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_first_line(error)) from None


def _unknown_key(key: str, command: str, words: Sequence[str]) -> str:
    """What to say of a key that does not exist: the keys that do, beside where it would be."""
    choices = [word for word in words if (configs() / word.split("=")[0]).is_dir()]  # of groups; they decide which keys there are
    with hydra.initialize_config_dir(str(configs()), version_base="1.3"):
        tree: Any = OmegaConf.to_container(hydra.compose(command, choices), resolve=False)
    parents, prefix = key.lstrip("+~").split("."), ""
    while len(parents) > 1 and isinstance(tree.get(parents[0]), dict):
        prefix, tree = f"{prefix}{parents[0]}.", tree[parents.pop(0)]
    return f"unknown key {key}; {nearest(prefix + parents[0], (prefix + name for name in tree))}"


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
