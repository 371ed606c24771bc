"""The one thread that serves every exchange, over TCP and over HTTP."""

import logging
import selectors
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from time import monotonic, time
from typing import Protocol

from fakeexchange.listener import Listener

log = logging.getLogger(__name__)


class Exchange(Protocol):
    """One port and its clients. Callables in the selector, its keys' data, are called when due."""

    kind: str  # for logs
    name: str
    listener: Listener

    def open(self, selector: selectors.BaseSelector) -> None:
        """Listen.

        Raises:
            ListenError: the address cannot be had.
        """
        ...

    def turn(self, mono_ms: float, wall_ms: float) -> None:
        """Do what is due."""
        ...

    def next_ms(self, mono_ms: float) -> float:
        """Return when to `turn` next, if no key of the selector is ready before."""
        ...

    def close(self) -> None:
        """Stop listening and close every client."""
        ...


class Server:
    """Several exchanges on one selector."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self._stopping = False
        self._waker: socket.socket | None = None
        self._resources = ExitStack()

    def open(self) -> None:
        """Listen for every exchange, or for none.

        Raises:
            ListenError: an address cannot be had.
        """
        with ExitStack() as resources:
            self._selector = resources.enter_context(selectors.DefaultSelector())
            woken, waker = socket.socketpair()
            resources.enter_context(woken)
            self._waker = resources.enter_context(waker)
            self._selector.register(woken, selectors.EVENT_READ, lambda: None)
            for exchange in self._exchanges:
                exchange.open(self._selector)
                resources.callback(exchange.close)
            self._resources = resources.pop_all()
        for exchange in self._exchanges:
            log.info(
                "exchange listening",
                extra={
                    "exchange": exchange.name,
                    "kind": exchange.kind,
                    "host": exchange.listener.host,
                    "port": exchange.listener.port,
                },
            )

    def run(self) -> None:
        """Serve until `stop`, then close everything."""
        with self._resources:
            while not self._stopping:
                self._serve_once()

    def stop(self) -> None:
        """End `run` soon, from any thread or from a signal handler."""
        self._stopping = True
        if self._waker is not None:
            with suppress(OSError):  # closed: it has ended already
                self._waker.send(b"\0")

    def _serve_once(self) -> None:
        mono_ms = monotonic() * 1000.0
        next_ms = min(exchange.next_ms(mono_ms) for exchange in self._exchanges)
        for key, _ in self._selector.select(max(0.0, next_ms - mono_ms) / 1000.0):
            key.data()
        mono_ms, wall_ms = monotonic() * 1000.0, time() * 1000.0
        for exchange in self._exchanges:
            exchange.turn(mono_ms, wall_ms)
