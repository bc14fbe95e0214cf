"""Ctrl-C, SIGTERM and a cluster's signals as a request: finish the step, save, leave."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sngan import distributed
from sngan.errors import Interrupted

ECHO = 1.0
"""Seconds in which signals count as one: Ctrl-C reaches all processes of a terminal, and torchrun and sweeps pass it on to the same ones."""


OF_CLUSTERS = [signal.Signals[name] for name in ("SIGUSR1", "SIGUSR2") if name in signal.Signals.__members__]
"""What is sent before a job's machine is taken away: `sbatch --signal=USR1@120`, or by submitit SIGUSR2."""


class StopRequest:
    """Listens for SIGINT, SIGTERM and a cluster's signals while it is entered.

    The first one is remembered; a second one, no echo of it, interrupts at once. Who listened for a cluster's signal before hears it at the
    end, when all is saved: submitit then has the job begin again.
    """

    signum: int | None = None
    _since = 0.0

    def __init__(self) -> None:
        self._at_once = False

    def __enter__(self) -> StopRequest:
        # signals reach only the main thread, and only there may handlers be set
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM, *OF_CLUSTERS)}
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        if self.signum in OF_CLUSTERS and callable(self._previous[signal.Signals(self.signum)]):
            signal.raise_signal(self.signum)

    def requested(self, step: int) -> bool:
        """Whether to stop after this step; all ranks agree, which several ask only every 20 steps because it synchronises them."""
        if distributed.world_size() > 1 and step % 20:
            return False
        return distributed.any_rank(self.signum is not None)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a request raises `Interrupted` right away: for long work that changes nothing, such as loading and scoring."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        again = self.signum is not None
        if again and time.monotonic() - self._since < ECHO:
            return
        self.signum, self._since = signum, time.monotonic()
        if self._at_once or again:
            raise Interrupted(signum)
