"""One connected client of a ticker: its requests, answered in order, without waiting for it."""

import selectors
import socket
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from fakeexchange.http_messages import (
    Answer,
    BadRequest,
    Request,
    RequestReader,
    complaint,
    encode,
)

_RECEIVED_AT_ONCE = 65_536
_LINGER_MS = 1000.0  # for the client to read the last answer and to close


class Owner(Protocol):
    """What a client needs of its exchange."""

    selector: selectors.BaseSelector

    def answer(self, request: Request) -> Answer:
        """Return the answer to *request*."""
        ...

    def at(self, mono_ms: float, call: Callable[[], None]) -> None:
        """Make the *call* when it is due."""
        ...

    def forget(self, client: "HttpClient") -> None:
        """Learn that *client* is closed."""
        ...


class HttpClient:
    """Reads only while nothing is due to be sent, so a client that does not read fills no memory.

    The bytes after a last answer are read and dropped: closing at once would take the answer back.
    """

    def __init__(self, connection: socket.socket, owner: Owner) -> None:
        self._connection = connection
        self._owner = owner
        self._reader = RequestReader()
        self._unsent = b""
        self._waits = False  # an answer is late on purpose
        self._ends = False  # the last answer was given
        self._events = 0
        self._is_closed = False

    def start(self) -> None:
        """Wait for requests."""
        self._listen(selectors.EVENT_READ)

    def close(self) -> None:
        """Close the connection; what was not sent is lost."""
        if not self._is_closed:
            self._is_closed = True
            self._listen(0)
            self._connection.close()
            self._owner.forget(self)

    def _receive(self) -> None:
        try:
            data = self._connection.recv(_RECEIVED_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:  # reset: there is nobody to tell
            data = b""
        if not data:
            self.close()
        elif not self._ends:
            self._reader.feed(data)
            self._answer_all()

    def _answer_all(self) -> None:
        while not self._waits and not self._ends:
            try:
                request = self._reader.next()
            except BadRequest as bad:
                self._ends = True
                self._unsent += encode(complaint(bad.status, str(bad)), None)
                break
            if request is None:
                break
            self._answer(request)
        self._flush()

    def _answer(self, request: Request) -> None:
        answer = self._owner.answer(request)
        ends = answer.is_cut or not request.keep_alive
        message = encode(answer, request)
        if answer.wait_ms:
            self._waits = True
            due_ms = monotonic() * 1000.0 + answer.wait_ms
            self._owner.at(due_ms, lambda: self._give_late(message, ends=ends))
        else:
            self._unsent += message
            self._ends = ends

    def _give_late(self, message: bytes, *, ends: bool) -> None:
        self._waits = False
        self._unsent += message
        self._ends = ends
        if not self._is_closed:
            self._answer_all()

    def _flush(self) -> None:
        try:
            if self._unsent:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # reset: there is nobody to tell
            self.close()
            return
        if self._unsent:
            self._listen(selectors.EVENT_WRITE)
        elif self._waits:
            self._listen(0)
        else:
            self._listen(selectors.EVENT_READ)
            if self._ends:
                self._finish()

    def _finish(self) -> None:
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:  # reset: there is nobody to tell
            self.close()
        else:
            self._owner.at(monotonic() * 1000.0 + _LINGER_MS, self.close)

    def _listen(self, events: int) -> None:
        """Wait from now on for these events alone."""
        if events == self._events:
            return
        selector, connection = self._owner.selector, self._connection
        call = self._receive if events == selectors.EVENT_READ else self._flush
        if not self._events:
            selector.register(connection, events, call)
        elif events:
            selector.modify(connection, events, call)
        else:
            selector.unregister(connection)
        self._events = events
