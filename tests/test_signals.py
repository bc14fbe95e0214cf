from __future__ import annotations

import os
import signal
from threading import Thread

import pytest

from sngan import signals
from sngan.errors import Interrupted
from sngan.signals import StopRequest


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, to be moved; the signals are real, and whole runs with the real clock are stopped in test_loop.py."""
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


def test_a_signal_is_remembered_and_raises_only_inside_of_what_may_end_at_once() -> None:
    with StopRequest() as request:
        with request.at_once():
            assert request.signum is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signum == signal.SIGTERM
        assert request.requested(7)
    with StopRequest() as request, pytest.raises(Interrupted), request.at_once():
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGUSR2])
def test_what_a_cluster_sends_is_a_request_that_its_own_listener_hears_in_the_end(signum: signal.Signals) -> None:
    heard: list[int] = []
    before = signal.signal(signum, lambda number, frame: heard.append(number))
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signum)
            assert (request.signum, heard) == (signum, [])
        assert heard == [signum]
    finally:
        signal.signal(signum, before)


def test_outside_of_the_main_thread_no_signal_is_listened_for() -> None:
    """Python lets no other thread set a handler; a run in one goes on without."""
    requested: list[bool] = []

    def run() -> None:
        with StopRequest() as request:
            requested.append(request.requested(0))

    before = signal.getsignal(signal.SIGINT)
    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert requested == [False]
    assert signal.getsignal(signal.SIGINT) is before
