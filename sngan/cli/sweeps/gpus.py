"""One GPU for each job that runs at the same time on a machine."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sngan.files import lock


@contextmanager
def claimed_gpu(folder: Path, n_gpus: int) -> Iterator[int]:
    """Inside, the number of a GPU that no other process has claimed in this folder; if all are claimed, of one with the fewest claims.

    The claim is a file lock, so it ends with the process, even if that is killed.
    """
    for place in itertools.count():
        claim = lock(folder / f"gpu-{socket.gethostname()}-{place}")
        if claim is not None:
            try:
                yield place % n_gpus
            finally:
                claim.release()
            return
