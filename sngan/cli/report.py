"""`sngan report`: one page about a run, or about several."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sngan.cli.compose import to_dict, typed
from sngan.cli.hydra_app import overrides_first
from sngan.cli.jobs import run
from sngan.cli.overrides import overrides_for
from sngan.report.request import Report


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code. Words without KEY= are paths."""
    paths, words = paths_and_words(argv)
    return run("report", lambda cfg: _report(cfg, paths), words)


def paths_and_words(argv: list[str]) -> tuple[list[str], list[str]]:
    """The paths in a command line, and the words that Hydra parses."""
    words = overrides_first(argv)
    n = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return [word for word in words[:n] if is_path(word)], [word for word in words[:n] if not is_path(word)] + words[n:]


def is_path(word: str) -> bool:
    """Whether a word is a path rather than KEY=VALUE: it has no `=`, or a file of this name exists."""
    return "=" not in word or Path(word).exists()


def _report(cfg: DictConfig, paths: list[str]) -> None:
    values = to_dict(cfg)
    values["paths"] = [*paths, *values["paths"]]
    request = typed(Report, values)
    # torch takes seconds, and what is wrong with the words is told without it
    from sngan.report.report import report

    written = report(request, command=command)
    for reason in written.left_out:
        print(f"left out: {reason}")
    print(f"{written.n_runs} run{'s' * (written.n_runs != 1)} in {written.path}")


def command(config: Mapping[str, Any]) -> str | None:
    """A command line that trains a run of this config, or None if there is none, as for images that were given from Python."""
    data = config.get("data")
    own = isinstance(data, Mapping) and data.get("name") == "own"
    overrides = None if own else overrides_for(config)
    return None if overrides is None else shlex.join(["sngan", "train", *overrides])
