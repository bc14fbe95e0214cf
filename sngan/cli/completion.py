"""Shell completion: commands are ours, groups and keys are Hydra's."""

from __future__ import annotations

import os

from sngan.__main__ import COMMANDS
from sngan.cli.hydra_app import run


def complete(argv: list[str]) -> int:
    """Answers `sngan -sc install=SHELL`, `uninstall=SHELL` and the query that the installed script sends for each tab."""
    command = "train"
    if any(word.startswith("query=") for word in argv):
        program, *words = os.environ.get("COMP_LINE", "").split(" ")
        if len(words) <= 1:
            print("\n".join(name for name in COMMANDS if name.startswith("".join(words))))
            return 0
        if words[0] not in COMMANDS:
            return 0
        command = words[0]
        os.environ["COMP_LINE"] = " ".join([program, *words[1:]])
    return run(command, lambda cfg: None, [*argv, "-sc"])
