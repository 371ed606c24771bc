"""An exchange's feed over TCP: connect, read whole lines, say in our words how it ended."""

import errno
import fcntl
import os
import selectors
import socket
import termios
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from time import monotonic
from typing import Any

from marketflow.adapters.exchange.wire import CHUNK_BYTES, LineCutter
from marketflow.domain.errors import FeedLost
from marketflow.domain.tick import Decoded

# Less than this in one read means that we are faster than the exchange.
_SHORT_READ = 4_096
# Less than this, two or three lines, is the beginning of a burst that is still being sent.
_BURST_BYTES = 256
# A chunk costs as much as a hundred ticks, so an exchange that sends all the time is read this many
# times *coalesce_s* after the last read: at 10,000 ticks a second that is less than half the CPU.
_PAUSE = 5


class TcpSource:
    """Reads one exchange's socket; may be asked for `chunks` again after each `FeedLost`.

    Every chunk is a burst, or if that is but a line or two what arrived within *coalesce_s* of its
    first byte; what arrived within five times that if the exchange sends all the time; or up to
    64 KiB and the beginning of a line when it sends faster. A connection that completes no line
    for *stale_after_s* is lost, so half-open ones and drips of bytes are too.

    `close` cannot interrupt the look-up of a host name: give an address where that may be slow.
    """

    def __init__(
        self,
        exchange: str,
        host: str,
        port: int,
        *,
        decode: Callable[[bytes, int], Decoded],
        connect_timeout_s: float,
        stale_after_s: float,
        coalesce_s: float,
        max_line: int,
    ) -> None:
        self.exchange = exchange
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host = host
        self._port = port
        self._decode = decode
        self._connect_timeout_s = connect_timeout_s
        self._stale_after_s = stale_after_s
        self._coalesce_s = coalesce_s
        self._max_line = max_line
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._wakers: set[socket.socket] = set()  # one for each running `chunks`

    def chunks(self) -> Iterator[bytes]:
        """Connect, yield an empty chunk to say so, then chunks of whole lines until closed.

        Raises:
            FeedLost: the connection could not be made, ended or fell silent; call again.
        """
        with self._selector() as selector:
            try:
                with closing(self._connect(selector)) as sock:
                    selector.register(sock, selectors.EVENT_READ)
                    yield b""
                    yield from self._read(sock, selector)
            except _ClosedHere:
                return
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise FeedLost(f"{self.exchange} at {self.address}: {reason}") from error

    def decode(self, chunk: bytes, received_ms: int) -> Decoded:
        return self._decode(chunk, received_ms)

    def close(self) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                for waker in self._wakers:
                    waker.send(b"\0")

    @contextmanager
    def _selector(self) -> Iterator[selectors.BaseSelector]:
        # becomes readable when `close` is called, so that every wait on it ends then
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            waker, wakened = map(stack.enter_context, socket.socketpair())
            selector.register(wakened, selectors.EVENT_READ)
            with self._lock:
                self._wakers.add(waker)
            try:
                yield selector
            finally:
                with self._lock:
                    self._wakers.discard(waker)

    def _connect(self, selector: selectors.BaseSelector) -> socket.socket:
        failure = OSError("the name has no address")
        for family, kind, protocol, _, target in self._targets():
            with ExitStack() as on_failure:
                try:
                    sock = on_failure.enter_context(socket.socket(family, kind, protocol))
                    self._reach(sock, target, selector)
                except OSError as error:
                    failure = error
                else:
                    on_failure.pop_all()
                    return sock
        raise failure

    def _targets(self) -> list[tuple[Any, ...]]:
        try:
            return list(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))
        except UnicodeError as error:
            raise OSError("not a host name") from error

    def _reach(self, sock: socket.socket, target: Any, selector: selectors.BaseSelector) -> None:
        sock.setblocking(False)
        code = sock.connect_ex(target)
        if code == errno.EINPROGRESS:
            selector.register(sock, selectors.EVENT_WRITE)
            try:
                if not self._wait(selector, self._connect_timeout_s):
                    raise TimeoutError(f"no answer within {self._connect_timeout_s:.1f} s")
            finally:
                selector.unregister(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code and sock.getsockname() == sock.getpeername():
            # Nobody listens there, and the port the kernel lent us happens to be the very same:
            # TCP then connects the socket to itself, and the exchange could not start again.
            code = errno.ECONNREFUSED
        if code:
            raise OSError(code, os.strerror(code))

    def _read(self, sock: socket.socket, selector: selectors.BaseSelector) -> Iterator[bytes]:
        cutter = LineCutter(self._max_line)
        deadline = monotonic() + self._stale_after_s
        drained, next_read = True, 0.0
        while not self._closed.is_set():
            if drained:
                if not self._wait(selector, deadline - monotonic()):
                    raise TimeoutError(f"silent for {self._stale_after_s:.1f} s")
                if (early_s := next_read - monotonic()) > 0:
                    self._closed.wait(early_s)
                elif _waiting_bytes(sock) < _BURST_BYTES:
                    # what follows within moments comes in the same read: half the CPU
                    self._closed.wait(self._coalesce_s)
                next_read = monotonic() + _PAUSE * self._coalesce_s
            try:
                data = sock.recv(CHUNK_BYTES)
            except BlockingIOError:
                drained = True
                continue
            if not data:
                raise ConnectionError("closed by the exchange")
            drained = len(data) < _SHORT_READ
            lines = cutter.cut(data)
            if lines:
                yield lines
                deadline = monotonic() + self._stale_after_s
            elif monotonic() > deadline:
                raise TimeoutError(f"silent for {self._stale_after_s:.1f} s")

    def _wait(self, selector: selectors.BaseSelector, timeout: float) -> bool:
        ready = None if self._closed.is_set() else selector.select(max(0.0, timeout))
        if self._closed.is_set():
            raise _ClosedHere
        return bool(ready)


def _waiting_bytes(sock: socket.socket) -> int:
    count = array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


class _ClosedHere(Exception):
    """`close` was called while `chunks` waited: no error, only the way out."""
