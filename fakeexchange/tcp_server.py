"""One exchange over TCP: its clients, and what they hear."""

import logging
import selectors
import socket
from time import monotonic

from fakeexchange.client import Client
from fakeexchange.faults import CUT_LINE, Faults
from fakeexchange.listener import Listener
from fakeexchange.prices import Playback

log = logging.getLogger(__name__)

MAX_CLIENTS = 256  # of one exchange; more wait in the listen queue
BACKLOG_BYTES = 64 * 1024 * 1024  # of one client; at 50 lines a second five hours
_IDLE_MS = 1000.0  # the longest sleep


class TcpExchange:
    """One port and one walk, so that all its clients hear the same prices at the same time.

    The walk stands still while nobody listens: the first client hears it from its beginning.
    Clients are never read from; one that has gone is noticed by the next send.
    """

    kind = "tcp"

    def __init__(
        self,
        name: str,
        playback: Playback,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self.name = name
        self.listener = Listener(name, host=host, port=port, accepted=self._welcome)
        self._playback = playback
        self._faults = faults
        self._backlog_bytes = backlog_bytes
        self._clients: list[Client] = []

    def open(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self.listener.open(selector)

    def turn(self, mono_ms: float, wall_ms: float) -> None:
        """Do what is due: send a burst, let a fault happen, accept again."""
        self.listener.turn(mono_ms, has_room=len(self._clients) < MAX_CLIENTS)
        if not self._clients:
            return
        if self._faults is not None and self._faults.drops(mono_ms):
            self._drop(self._clients[0])
        if self._next_send_ms(mono_ms) > mono_ms:
            return
        lines = self._playback.take(mono_ms, wall_ms)
        if self._faults is not None:
            lines = self._faults.spoil(lines, wall_ms)
        for client in tuple(self._clients):
            client.send(lines)

    def next_ms(self, mono_ms: float) -> float:
        idle_ms = mono_ms + _IDLE_MS
        return min(idle_ms, self._next_send_ms(mono_ms)) if self._clients else idle_ms

    def close(self) -> None:
        self.listener.close()
        while self._clients:
            self._clients.pop().close()

    def _next_send_ms(self, mono_ms: float) -> float:
        silent_until_ms = 0.0 if self._faults is None else self._faults.silent_until(mono_ms)
        return max(silent_until_ms, self._playback.next_ms())

    def _welcome(self, connection: socket.socket, address: str) -> None:
        client = Client(
            connection,
            address,
            selector=self._selector,
            backlog_bytes=self._backlog_bytes,
            lost=self._remove,
        )
        if not self._clients:
            self._playback.resume(monotonic() * 1000.0)
        self._clients.append(client)
        log.info(
            "client connected",
            extra={"exchange": self.name, "client": client.address, "clients": len(self._clients)},
        )

    def _drop(self, client: Client) -> None:
        client.send(CUT_LINE)
        if client in self._clients:
            self._remove(client, "a drop fault was due")

    def _remove(self, client: Client, reason: str) -> None:
        self._clients.remove(client)
        client.close()
        log.info(
            "client disconnected",
            extra={
                "exchange": self.name,
                "client": client.address,
                "reason": reason,
                "clients": len(self._clients),
            },
        )
