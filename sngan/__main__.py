"""`sngan COMMAND …`, also as `python -m sngan COMMAND …` (what torchrun starts)."""

from __future__ import annotations

import sys
from importlib import import_module
from keyword import iskeyword

from sngan import __version__
from sngan.cli.commands import COMMANDS
from sngan.cli.pipes import readers_may_leave
from sngan.errors import UserError, nearest

HELP = "\n".join(
    [
        "sngan: training spectral-normalisation GANs",
        "",
        "usage: sngan COMMAND [KEY=VALUE ...]",
        "",
        *(f"  {name:<10} {what}" for name, what in COMMANDS.items()),
        "",
        "  sngan COMMAND --help          the groups and keys of a command, on one screen",
        "  sngan COMMAND --help KEY      what a key means, and what it can be; --help all: of every key",
        "  sngan --version               the version",
        '  eval "$(sngan -sc install=bash)"   shell completion of commands, groups and keys (also zsh, fish)',
    ]
)


def main(argv: list[str] | None = None) -> int:
    """Runs a command line and returns the exit code: 0; 2 for a user's mistake; 128 + the signal's number when interrupted.

    Where the reader of what it prints leaves (`sngan --help | head -1`), the program exits with 141, without a word.
    """
    with readers_may_leave():
        return _main(sys.argv[1:] if argv is None else argv)


def _main(argv: list[str]) -> int:
    match argv:
        case [] | ["--help" | "-h" | "help"]:
            print(HELP)
            return 0
        case ["--version"] | [_, "--version"]:
            print(f"sngan {__version__}")
            return 0
        case ["--shell-completion" | "-sc", *rest]:
            return _run("completion", rest)
        case [command, *rest] if command in COMMANDS:
            return _run(command, rest)
        case [command, *_]:
            print(f"sngan: unknown command {command}; {nearest(command, COMMANDS)}", file=sys.stderr)
            return 2
    raise AssertionError(argv)


def _run(command: str, words: list[str]) -> int:
    try:
        if {"--help", "-h"} & set(words):  # answered without what the command itself needs: torch takes seconds
            from sngan.cli import help as manual

            return manual.main(command, words)
        code: int = import_module(f"sngan.cli.{command}{'_' * iskeyword(command)}").main(words)
        return code
    except UserError as error:
        print(f"sngan: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sngan: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
