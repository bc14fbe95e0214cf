"""Shell completion: commands are ours, groups and keys are Hydra's."""

from __future__ import annotations

import os
import re

from sngan.cli.commands import COMMANDS
from sngan.cli.jobs import run
from sngan.errors import UserError


def main(argv: list[str]) -> int:
    """Answers `sngan -sc install=SHELL`, `uninstall=SHELL` and the query that the installed script sends for each tab."""
    if len(argv) != 1 or not re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", argv[0]):
        raise UserError("-sc takes install=SHELL or uninstall=SHELL, with bash, zsh or fish")
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
