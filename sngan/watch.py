"""Ranks that learn when one of them ends before the others, and why.

Every rank holds a connection to the first one. The system closes it when a process ends, however it does, and the connection's own probes
notice a machine that is gone. No rank has to say that it is alive, so none is taken for dead because it is busy.
"""

from __future__ import annotations

import _thread
import json
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple, TextIO

from sngan.errors import UserError

ARRIVAL_S = 300.0
"""How long ranks wait for each other at the start."""

GRACE_S = 7.0
"""How long a rank has to come out of what it does, such as a collective on a GPU, when another has ended; then its process ends."""

PROBES = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
"""A machine that has not answered for five seconds is gone."""


class Word(NamedTuple):
    """What ranks tell each other, as a line of JSON."""

    rank: int
    how: Literal["left", "failed", "interrupted", "gone"]
    """`left`: with all others. `gone`: without a word."""
    why: str = ""


class Peer(NamedTuple):
    """The other end of a connection."""

    rank: int
    name: str
    connection: socket.socket
    lines: TextIO


class Watch:
    """A rank's connection to the first rank or, of that one, those to all others.

    `post` and `read` leave a word where ranks meet, and wait for it. Raises `UserError` if ranks do not arrive.
    """

    def __init__(self, rank: int, world: int, address: str, *, post: Callable[[str], None], read: Callable[[], bytes]):
        self.rank = rank
        self.word: Word | None = None
        """The first end that this rank has learnt of, perhaps its own."""
        self._known, self._lock = threading.Event(), threading.Lock()
        self._timer = threading.Timer(GRACE_S, self._end)
        self._timer.daemon = True
        self._peers = self._receive(world, post) if rank == 0 else [self._join(address, read())]
        for peer in self._peers:
            probe(peer.connection)
            threading.Thread(target=self._listen, args=(peer,), daemon=True).start()

    def of_another(self, *, within: float = 0.0) -> Word | None:
        """The end of another rank before this one's, as far as it is known after so many seconds."""
        self._known.wait(within)
        return self.word if self.word and self.word.rank != self.rank else None

    def speaks(self) -> bool:
        """Whether this rank says why the ranks end: the first does or, where that is gone, the second."""
        return self.rank == (1 if self.word and self.word.rank == 0 and self.word.how == "gone" else 0)

    def tell(self, error: BaseException) -> None:
        """Lets all ranks know why this one is about to end."""
        if isinstance(error, Exception):
            said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._learn(Word(self.rank, "failed", f"rank {self.rank}: {said}"))
        else:
            self._learn(Word(self.rank, "interrupted", f"rank {self.rank} was interrupted"))

    def leave(self) -> None:
        """Ends the connections: all ranks are at their end, or have been told why this one is."""
        self._timer.cancel()
        with self._lock:
            self.word = self.word or Word(self.rank, "left")
        for peer in self._peers:
            _send(peer, self.word)
            with suppress(OSError):
                peer.connection.shutdown(socket.SHUT_WR)

    def _receive(self, world: int, post: Callable[[str], None]) -> list[Peer]:
        dual = socket.has_dualstack_ipv6()
        peers: list[Peer] = []
        token = secrets.token_hex(16)  # others may reach the port, too
        with socket.create_server(("", 0), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual) as server:
            server.settimeout(ARRIVAL_S)
            post(f"{server.getsockname()[1]} {token}")
            while len(peers) < world - 1:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    missing = sorted(set(range(1, world)) - {peer.rank for peer in peers})
                    raise UserError(
                        f"ranks {', '.join(map(str, missing))} of {world} did not arrive within {ARRIVAL_S:.0f} s; "
                        "start them all at one time, with the same command"
                    ) from None
                with suppress(OSError, ValueError):
                    connection.settimeout(GRACE_S)
                    lines = connection.makefile("r")
                    said, rank, name = json.loads(lines.readline())
                    connection.settimeout(None)
                    if said == token:
                        peers.append(Peer(rank, name, connection, lines))
        return peers

    def _join(self, address: str, posted: bytes) -> Peer:
        port, token = posted.decode().split()
        connection = socket.create_connection((address, int(port)))
        name = f"on {socket.gethostname()} (process {os.getpid()})"
        connection.sendall(f"{json.dumps([token, self.rank, name])}\n".encode())
        return Peer(0, f"on {address}", connection, connection.makefile("r"))

    def _listen(self, peer: Peer) -> None:
        try:
            line = peer.lines.readline()
        except OSError:
            line = ""
        why = f"rank {peer.rank} {peer.name} ended without a word: it was killed, or its machine is gone"
        word = Word(*json.loads(line)) if line else Word(peer.rank, "gone", why)
        if word.how != "left" and self._learn(word) and word.how != "interrupted":
            _thread.interrupt_main(signal.SIGTERM)  # where that is listened for: long work of one rank then ends, too

    def _learn(self, word: Word) -> bool:
        """Whether it is the first; the others are then told, and the time of this process runs."""
        with self._lock:
            if self.word is not None:
                return False
            self.word = word
        for peer in self._peers:
            _send(peer, word)
        self._timer.start()
        self._known.set()
        return True

    def _end(self) -> None:
        if self.speaks() and self.word:
            sys.stderr.write(f"sngan: {self.word.why}\n")
            sys.stderr.flush()
        os._exit(1)


def probe(connection: socket.socket) -> None:
    """Lets the system notice that the machine at the other end is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in PROBES.items():
        if hasattr(socket, option):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _send(peer: Peer, word: Word) -> None:
    with suppress(OSError):  # it has ended itself
        peer.connection.sendall(f"{json.dumps(word)}\n".encode())
