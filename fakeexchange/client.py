"""One connected client and the lines it has not taken yet."""

import selectors
import socket
from collections.abc import Callable


class Client:
    """Sends without waiting; what the client does not read is kept for it, up to a limit.

    *lost* is called with the reason when the client has gone or has read too little; it is what
    closes the client. Its key in the selector holds `flush` as data.
    """

    def __init__(
        self,
        connection: socket.socket,
        address: str,
        *,
        selector: selectors.BaseSelector,
        backlog_bytes: int,
        lost: Callable[["Client", str], None],
    ) -> None:
        self.address = address
        self._connection = connection
        self._selector = selector
        self._backlog_bytes = backlog_bytes
        self._lost = lost
        self._unsent = bytearray()
        self._waits = False

    def send(self, lines: bytes) -> None:
        """Send *lines* behind everything sent before, now or as soon as the client reads."""
        if len(self._unsent) + len(lines) > self._backlog_bytes:
            self._lost(self, f"it left {len(self._unsent)} bytes unread")
            return
        self._unsent += lines
        self.flush()

    def flush(self) -> None:
        """Send as much as the client takes now."""
        try:
            del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(self, error.strerror or str(error))
            return
        self._wait(waits=bool(self._unsent))

    def close(self) -> None:
        """Close the connection; what was not sent is lost."""
        self._wait(waits=False)
        self._connection.close()

    def _wait(self, *, waits: bool) -> None:
        if waits and not self._waits:
            self._selector.register(self._connection, selectors.EVENT_WRITE, self.flush)
        elif self._waits and not waits:
            self._selector.unregister(self._connection)
        self._waits = waits
