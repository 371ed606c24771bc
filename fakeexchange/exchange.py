"""One exchange: a listening socket, its clients, and what they hear."""

import logging
import selectors
import socket
from time import monotonic
from typing import Any

from fakeexchange.client import Client
from fakeexchange.faults import CUT_LINE, Faults
from fakeexchange.prices import Playback

log = logging.getLogger(__name__)

MAX_CLIENTS = 256  # of one exchange; more wait in the listen queue
BACKLOG_BYTES = 64 * 1024 * 1024  # of one client; at 50 lines a second five hours
_IDLE_MS = 1000.0  # the longest sleep; also before accepting again when that has failed


class ListenError(Exception):
    """An address that is taken, forbidden or unknown; says which and why."""


class Exchange:
    """One port and one walk, so that all its clients hear the same prices at the same time.

    The walk stands still while nobody listens: the first client hears it from its beginning.
    Clients are never read from; one that has gone is noticed by the next send.
    """

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
        self.host = host
        self.port = port  # 0 until `open` has chosen one
        self._playback = playback
        self._faults = faults
        self._backlog_bytes = backlog_bytes
        self._clients: list[Client] = []
        self._accepts = False
        self._accept_again_ms = 0.0

    def open(self, selector: selectors.BaseSelector) -> None:
        """Listen.

        Raises:
            ListenError: the address cannot be had.
        """
        family, kind, protocol, address = self._resolve()
        self._selector = selector
        self._listener = socket.socket(family, kind, protocol)
        try:
            # a restart must not wait for the old connections to time out
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(address)
            self._listener.listen(128)
        except OSError as error:
            self._listener.close()
            raise ListenError(f"cannot listen on {self._address()}: {error.strerror}") from error
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._accept_only_if(accepts=True)

    def turn(self, mono_ms: float, wall_ms: float) -> None:
        """Do what is due: send a burst, let a fault happen, accept again."""
        has_room = len(self._clients) < MAX_CLIENTS
        self._accept_only_if(accepts=has_room and mono_ms >= self._accept_again_ms)
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
        """Return when to `turn` next, if no client comes before."""
        idle_ms = mono_ms + _IDLE_MS
        return min(idle_ms, self._next_send_ms(mono_ms)) if self._clients else idle_ms

    def close(self) -> None:
        """Stop listening and close every client."""
        self._accept_only_if(accepts=False)
        self._listener.close()
        while self._clients:
            self._clients.pop().close()

    def _resolve(self) -> tuple[socket.AddressFamily, socket.SocketKind, int, Any]:
        try:
            found = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise ListenError(f"cannot listen on {self._address()}: {error.strerror}") from error
        family, kind, protocol, _, address = found[0]
        return family, kind, protocol, address

    def _address(self) -> str:
        return f"{self.host}:{self.port}"

    def _next_send_ms(self, mono_ms: float) -> float:
        silent_until_ms = 0.0 if self._faults is None else self._faults.silent_until(mono_ms)
        return max(silent_until_ms, self._playback.next_ms())

    def _accept_only_if(self, *, accepts: bool) -> None:
        if accepts and not self._accepts:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        elif self._accepts and not accepts:
            self._selector.unregister(self._listener)
        self._accepts = accepts

    def _accept(self) -> None:
        try:
            connection, (host, port, *_) = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if not self._accept_again_ms:
                log.warning("cannot accept", extra={"exchange": self.name, "error": error.strerror})
            self._accept_again_ms = monotonic() * 1000.0 + _IDLE_MS
            self._accept_only_if(accepts=False)
            return
        self._accept_again_ms = 0.0
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(
            connection,
            f"{host}:{port}",
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
