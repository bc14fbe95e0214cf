"""One card for each job that runs at the same time on a machine."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sngan.files import lock


@contextmanager
def claimed_card(folder: Path, n_cards: int) -> Iterator[int]:
    """Inside, the number of a card that no other process has claimed in this folder; with more processes than cards one that the fewest have.

    The claim is a lock of a file, so that it ends with the process, however that ends.
    """
    for place in itertools.count():
        claim = lock(folder / f"card-{socket.gethostname()}-{place}")
        if claim is not None:
            try:
                yield place % n_cards
            finally:
                claim.release()
            return
