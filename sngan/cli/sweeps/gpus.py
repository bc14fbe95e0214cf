"""One card for each job that runs at the same time on a machine."""

from __future__ import annotations

import fcntl
import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed_card(folder: Path, n_cards: int) -> Iterator[int]:
    """Inside, the number of a card that no other process has claimed in this folder; with more processes than cards one that the fewest have.

    The claim is a lock of a file, so that it ends with the process, however that ends.
    """
    for place in itertools.count():
        with (folder / f"card-{socket.gethostname()}-{place}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield place % n_cards
            return
