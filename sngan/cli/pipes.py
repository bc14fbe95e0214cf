"""Output into a pipe that its reader closes early, as `head` does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from sngan.processes import to_nowhere

CLOSED = 128 + 13
"""The exit code of a program whose output pipe was closed: 128 + the number of SIGPIPE."""


class Output:
    """A stream that behaves like `stream`, but ends the program silently with exit code `CLOSED` when its pipe is closed.

    It raises `SystemExit`, so that a run that is training saves and can be resumed.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes the text."""
        with self._until_closed():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flushes the stream."""
        with self._until_closed():
            self._stream.flush()

    @contextmanager
    def _until_closed(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # messages on the way out, and what is still in the buffer, are dropped
            to_nowhere(self._stream.fileno())
            raise SystemExit(CLOSED) from None


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Inside, a closed pipe at standard output or standard error ends the program without a traceback."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Output(before[0]), Output(before[1])
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            sys.stdout, sys.stderr = before
