"""The user's faults and wishes: short, actionable, without a traceback."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from errno import ENOMEM
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class Interrupted(BaseException):
    """The run was asked to stop. Not an `Exception`, so that no handler of failures catches it."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class UserError(Exception):
    """What the user asked for cannot be done: one or two lines that say what was given, what is allowed and what to do.

    The command line prints the message alone and exits with code 2. Characters that are not printable, which a terminal could obey, are
    escaped.
    """

    said = False
    """Whether another process says it."""

    def __init__(self, message: str):
        super().__init__("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message))


class DamagedError(UserError):
    """A file does not hold what was written to it: `what` says so, the message also what to do."""

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what}; {advice}")
        self.what = what


class DivergedError(UserError):
    """A loss or a weight became NaN or infinite."""


@contextmanager
def naming_memory(message: str) -> Iterator[None]:
    """Gives `UserError` with this message for a block that runs out of memory, the computer's or the GPU's."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not _of_memory(error):
            raise
        raise UserError(message) from None


def _of_memory(error: Exception) -> bool:
    """Torch has a class for a GPU's memory alone, whose name is told here because torch takes seconds to import."""
    if isinstance(error, RuntimeError):
        # the last is what oneDNN says when it gets no memory for the code of a convolution
        said = ("can't allocate memory", "bad_alloc", "Cannot allocate memory", "could not create a primitive")
        return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in said)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == ENOMEM)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """'did you mean X? ' for a near miss (empty otherwise), followed by what is allowed."""
    allowed = sorted(allowed)
    match = get_close_matches(name, allowed, n=1, cutoff=0.6)
    hint = f"did you mean {match[0]}? " if match else ""
    return f"{hint}allowed: {', '.join(allowed) or 'none'}"


def explain(error: ValidationError, *, prefix: str, allowed: Iterable[str]) -> str:
    """The first fault that pydantic found, as `key=value: reason`; how many more there are is said at the end.

    `prefix` is put before each key ('' or 'loss.'); `allowed` are the keys at that level.
    """
    # an unknown key first: it is why another is missing
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    # pydantic's names of union members and tuple places are not keys of ours, numbers are
    key = prefix + ".".join(str(part) for part in first["loc"] if not str(part).endswith("]"))
    if first["type"] == "extra_forbidden":
        reason = f"unknown key {key}; {nearest(str(first['loc'][-1]), allowed)}"
    elif first["type"] in ("missing", "missing_keyword_only_argument"):
        reason = f"{key} is missing; give {key}=…"
    else:
        reason = f"{key}={_short(first['input'])}: {_lower(first['msg'])}"
    return reason + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
