"""Output of several jobs on one terminal."""

from __future__ import annotations

import io
from typing import TextIO


class Prefixed(io.TextIOBase):
    """Writes whole lines, each with a prefix that tells the processes apart. It is no terminal, so there are no progress bars."""

    def __init__(self, stream: TextIO, prefix: str):
        self._stream, self._prefix, self._begun = stream, prefix, ""

    def write(self, text: str) -> int:
        """Writes the complete lines."""
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._prefix}{line}\n" for line in lines))
            self._stream.flush()
        return len(text)
