from __future__ import annotations

import os
import signal

import pytest

from sngan import signals
from sngan.signals import Interrupted, StopRequest


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, to be moved."""
    time = [100.0]
    monkeypatch.setattr("sngan.signals.time.monotonic", lambda: time[0])
    return time


def test_the_echo_of_a_signal_is_no_second_one(now: list[float]) -> None:
    """Ctrl-C reaches a process from the terminal and, once more, from who started it."""
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += signals.ECHO / 2
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signum == signal.SIGINT


def test_a_second_signal_interrupts_at_once(now: list[float]) -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += signals.ECHO * 2
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
