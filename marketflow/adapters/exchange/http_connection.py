"""One connection to an exchange: connecting, asking, being answered, waiting to be used again."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from marketflow.adapters.exchange.http_ask import HttpAsk
from marketflow.adapters.exchange.http_resolver import Address, Resolved, Resolver
from marketflow.adapters.exchange.http_response import Response, ResponseReader
from marketflow.domain.errors import NotAsked, QuoteFailed

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE
# the largest TLS record: nothing stays behind in the library, where the selector cannot see it
_RECEIVE_BYTES = 16 * 1024
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Endpoint(NamedTuple):
    """Where an exchange listens; *tls* is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None


class Due(Protocol):
    """What waits for a moment."""

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to wait for."""
        ...

    def due(self, now: float) -> None:
        """Take note that the moment has come."""
        ...


class Loop(Protocol):
    """What a connection needs of the loop it lives in."""

    resolver: Resolver

    def watch(self, connection: HttpConnection, events: int) -> None:
        """Call `ready` on these selector events alone; 0 for none."""
        ...

    def call_at(self, when: float, due: Due) -> None:
        """Call `due` at *when*, in monotonic seconds, if it is not settled by then."""
        ...


class Owner(Protocol):
    """Who is told what becomes of a connection; it then answers the connection's ask."""

    def responded(self, connection: HttpConnection, response: Response, now: float) -> None:
        """Take the response to the connection's ask; the connection is idle now."""
        ...

    def lost(self, connection: HttpConnection, failure: QuoteFailed | NotAsked, now: float) -> None:
        """Forget the connection, which is of no use any more, and `close` it."""
        ...


class HttpConnection:
    """A socket to an exchange, and the ask that it serves at the moment, if any.

    The loop's thread alone touches it.
    """

    __slots__ = (
        "_addresses",
        "_attempt_until",
        "_endpoint",
        "_failure",
        "_loop",
        "_owner",
        "_reader",
        "_sock",
        "_step",
        "_unsent",
        "ask",
        "events",
        "since",
        "used",
    )

    def __init__(self, endpoint: Endpoint, owner: Owner, loop: Loop) -> None:
        self.ask: HttpAsk | None = None
        self.events = 0  # what the selector watches for
        self.since = 0.0  # when it became idle
        self.used = False  # it has brought an answer
        self._endpoint = endpoint
        self._owner = owner
        self._loop = loop
        self._sock: socket.socket | None = None
        self._step: Callable[[float], None] = self._receive
        self._addresses: deque[Address] = deque()
        self._attempt_until = 0.0
        self._failure = OSError("the name has no address")
        self._unsent = b""
        self._reader = ResponseReader()

    @property
    def sock(self) -> socket.socket:
        """The socket, once there is one."""
        assert self._sock is not None
        return self._sock

    def open(self, ask: HttpAsk, now: float) -> None:
        """Connect, then send *ask*."""
        self.ask = ask
        self._loop.resolver.resolve(self._endpoint.host, self._resolved, now)

    def send(self, ask: HttpAsk, now: float) -> None:
        """Send *ask*; the connection must be idle."""
        self.ask = ask
        self._reader = ResponseReader()
        self._unsent = ask.request
        self._step = self._send
        self.ready(now)

    def ready(self, now: float) -> None:
        """Go on where the socket made us wait."""
        try:
            self._step(now)
        except OSError as error:
            self._owner.lost(self, _failure(error), now)
        except QuoteFailed as failure:
            self._owner.lost(self, failure, now)

    @property
    def settled(self) -> bool:
        """Whether it has reached an address, or was closed."""
        return self.ask is None or self._step != self._connected

    def due(self, now: float) -> None:
        """Try the next address if this one was tried for long enough."""
        if not self.settled and now >= self._attempt_until:
            self._failure = TimeoutError("no answer")
            self._try_next(now)

    def give_up(self, now: float) -> None:
        """Fail for a reason of our own making."""
        self._owner.lost(self, QuoteFailed("asking failed, see the log"), now)

    def stale(self) -> bool:
        """Tell whether the ask may have failed only since the connection was kept too long."""
        return self.used and not self._reader.started

    def close(self) -> None:
        """Close the socket, if there is one."""
        self._drop_socket()
        self.ask = None

    def _resolved(self, found: Resolved, now: float) -> None:
        if self.ask is None:
            return  # closed meanwhile
        if isinstance(found, OSError):
            reason = (found.strerror or str(found)).lower()
            self._owner.lost(self, QuoteFailed(f"host name not found: {reason}"), now)
            return
        self._addresses.extend(found)
        self._try_next(now)

    def _try_next(self, now: float) -> None:
        """Connect to the next address there is."""
        ask = self.ask
        assert ask is not None
        while self._addresses:
            family, address = self._addresses.popleft()
            try:
                self._connect(family, (address[0], self._endpoint.port, *address[2:]))
            except OSError as error:
                self._failure = error
                continue
            if self._addresses:
                # the others get their share of the time if this one is silent
                share = (ask.deadline - now) / (len(self._addresses) + 1)
                self._attempt_until = now + share
                self._loop.call_at(self._attempt_until, self)
            return
        self._owner.lost(self, _failure(self._failure), now)

    def _connect(self, family: socket.AddressFamily, address: tuple[object, ...]) -> None:
        self._drop_socket()
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self.sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self._wait(_WRITE, self._connected)

    def _connected(self, now: float) -> None:
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code and self.sock.getsockname() == self.sock.getpeername():
            # nobody listens there, and the kernel lent us that very port: we met ourselves
            code = errno.ECONNREFUSED
        if code:
            self._failure = OSError(code, os.strerror(code))
            self._try_next(now)
        elif self._endpoint.tls is None:
            self._begin(now)
        else:
            plain = self.sock
            self._sock = self._endpoint.tls.wrap_socket(
                plain, server_hostname=self._endpoint.host, do_handshake_on_connect=False
            )
            self._handshake(now)

    def _handshake(self, now: float) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self._wait(_READ, self._handshake)
        except ssl.SSLWantWriteError:
            self._wait(_WRITE, self._handshake)
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message.lower()
            raise QuoteFailed(f"certificate not accepted: {reason}") from error
        except ssl.SSLError as error:
            reason = (error.reason or "closed").lower().replace("_", " ")
            raise QuoteFailed(f"TLS handshake failed: {reason}") from error
        else:
            self._begin(now)

    def _begin(self, now: float) -> None:
        assert self.ask is not None
        self.send(self.ask, now)

    def _send(self, _now: float) -> None:
        try:
            sent = self.sock.send(self._unsent)
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        except ssl.SSLWantReadError:
            self._wait(_READ, self._send)
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._wait(_WRITE, self._send)
        else:
            self._wait(_READ, self._receive)

    def _receive(self, now: float) -> None:
        try:
            data = self.sock.recv(_RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._wait(_READ, self._receive)
            return
        except ssl.SSLWantWriteError:
            self._wait(_WRITE, self._receive)
            return
        if self.ask is None:
            raise QuoteFailed("connection was closed, or said something unasked")
        response = self._reader.feed(data) if data else self._reader.end()
        if response is not None:
            self.used = True
            self.since = now
            self._owner.responded(self, response, now)

    def _wait(self, events: int, step: Callable[[float], None]) -> None:
        self._step = step
        if events != self.events:
            self._loop.watch(self, events)

    def _drop_socket(self) -> None:
        if self._sock is not None:
            if self.events:
                self._loop.watch(self, 0)
            self._sock.close()
            self._sock = None


def _failure(error: OSError) -> QuoteFailed | NotAsked:
    reason = (error.strerror or str(error)).lower()
    if error.errno in _OUT_OF_DESCRIPTORS:
        return NotAsked(f"connection not opened: {reason}")
    return QuoteFailed(reason)
