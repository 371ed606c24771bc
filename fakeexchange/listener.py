"""A listening socket that pauses accepting when told to, or when that has failed."""

import logging
import selectors
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

log = logging.getLogger(__name__)

PAUSE_MS = 1000.0  # before accepting again when that has failed


class ListenError(Exception):
    """An address that is taken, forbidden or unknown; says which and why."""


class Listener:
    """Hands every new connection to *accepted*, with the client's address.

    The socket it hands over never blocks. Its key in the selector holds a callable as data.
    """

    def __init__(
        self,
        exchange: str,
        *,
        host: str,
        port: int,
        accepted: Callable[[socket.socket, str], None],
    ) -> None:
        self.host = host
        self.port = port  # 0 until `open` has chosen one
        self._exchange = exchange
        self._accepted = accepted
        self._accepts = False
        self._accept_again_ms = 0.0

    def open(self, selector: selectors.BaseSelector) -> None:
        """Listen.

        Raises:
            ListenError: the address cannot be had.
        """
        family, kind, protocol, address = self._resolve()
        self._selector = selector
        self._socket = socket.socket(family, kind, protocol)
        try:
            # a restart must not wait for the old connections to time out
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(1024)
        except OSError as error:
            self._socket.close()
            raise ListenError(f"cannot listen on {self._address()}: {error.strerror}") from error
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self._accept_only_if(accepts=True)

    def turn(self, mono_ms: float, *, has_room: bool) -> None:
        """Accept from now on if there *has_room*; without, connections wait in the queue."""
        self._accept_only_if(accepts=has_room and mono_ms >= self._accept_again_ms)

    def close(self) -> None:
        """Stop listening."""
        self._accept_only_if(accepts=False)
        self._socket.close()

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

    def _accept_only_if(self, *, accepts: bool) -> None:
        if accepts and not self._accepts:
            self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        elif self._accepts and not accepts:
            self._selector.unregister(self._socket)
        self._accepts = accepts

    def _accept(self) -> None:
        try:
            connection, (host, port, *_) = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if not self._accept_again_ms:
                context = {"exchange": self._exchange, "error": error.strerror}
                log.warning("cannot accept", extra=context)
            self._accept_again_ms = monotonic() * 1000.0 + PAUSE_MS
            self._accept_only_if(accepts=False)
            return
        self._accept_again_ms = 0.0
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted(connection, f"{host}:{port}")
