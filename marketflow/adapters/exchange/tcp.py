"""An exchange's feed over TCP: connect, read whole lines, say in our words how it ended."""

import errno
import fcntl
import os
import select
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
        self._closed = False
        self._until_closed = threading.Lock()  # held until then
        self._until_closed.acquire()
        self._lock = threading.Lock()
        self._wakers: set[socket.socket] = set()  # one for each running `chunks`

    def chunks(self) -> Iterator[bytes]:
        """Connect, yield an empty chunk to say so, then chunks of whole lines until closed.

        Raises:
            FeedLost: the connection could not be made, ended or fell silent; call again.
        """
        try:
            with self._alarm() as alarm, closing(self._connect(alarm)) as sock:
                yield b""
                yield from self._read(sock, alarm)
        except _ClosedHere:
            return
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise FeedLost(f"{self.exchange} at {self.address}: {reason}") from error

    def decode(self, chunk: bytes, received_ms: int) -> Decoded:
        return self._decode(chunk, received_ms)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._until_closed.release()
                for waker in self._wakers:
                    waker.send(b"\0")

    @contextmanager
    def _alarm(self) -> Iterator[socket.socket]:
        # becomes readable when `close` is called: every wait for the exchange waits for it too
        with ExitStack() as stack:
            waker, alarm = map(stack.enter_context, socket.socketpair())
            with self._lock:
                if self._closed:
                    raise _ClosedHere
                self._wakers.add(waker)
            try:
                yield alarm
            finally:
                with self._lock:
                    self._wakers.discard(waker)

    def _connect(self, alarm: socket.socket) -> socket.socket:
        failure = OSError("the name has no address")
        for family, kind, protocol, _, target in self._targets():
            with ExitStack() as on_failure:
                try:
                    sock = on_failure.enter_context(socket.socket(family, kind, protocol))
                    self._reach(sock, target, alarm)
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

    def _reach(self, sock: socket.socket, target: Any, alarm: socket.socket) -> None:
        sock.setblocking(False)
        code = sock.connect_ex(target)
        if code == errno.EINPROGRESS:
            answered = _poll(sock, select.POLLOUT, alarm).poll(1000 * self._connect_timeout_s)
            if self._closed:
                raise _ClosedHere
            if not answered:
                raise TimeoutError(f"no answer within {self._connect_timeout_s:.1f} s")
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code and sock.getsockname() == sock.getpeername():
            # Nobody listens there, and the port the kernel lent us happens to be the very same:
            # TCP then connects the socket to itself, and the exchange could not start again.
            code = errno.ECONNREFUSED
        if code:
            raise OSError(code, os.strerror(code))

    def _read(self, sock: socket.socket, alarm: socket.socket) -> Iterator[bytes]:
        # between the chunks of a quiet exchange the caches forget everything: so one function, that
        # touches little (no `selectors`, no `Event`: both are Python)
        poll, receive = _poll(sock, select.POLLIN, alarm).poll, sock.recv
        descriptor, waiting = sock.fileno(), array("i", [0])
        cut = LineCutter(self._max_line).cut
        now = next_read = monotonic()
        deadline, drained = now + self._stale_after_s, True
        while not self._closed:
            if drained:
                ready = poll(max(0.0, 1000 * (deadline - now)))
                if self._closed:
                    break
                if not ready:
                    raise self._silence()
                now = monotonic()
                early_s = next_read - now
                if early_s <= 0:
                    fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
                    # what follows within moments comes in the same read: half the CPU
                    early_s = self._coalesce_s if waiting[0] < _BURST_BYTES else 0
                if early_s > 0:
                    self._pause(early_s)
                    now = monotonic()
                next_read = now + _PAUSE * self._coalesce_s
            try:
                data = receive(CHUNK_BYTES)
            except BlockingIOError:
                drained = True
                continue
            if not data:
                raise ConnectionError("closed by the exchange")
            drained = len(data) < _SHORT_READ
            if lines := cut(data):
                yield lines
            now = monotonic()
            if lines:
                deadline = now + self._stale_after_s
            elif now > deadline:
                raise self._silence()

    def _pause(self, seconds: float) -> None:
        if self._until_closed.acquire(timeout=seconds):
            self._until_closed.release()
            raise _ClosedHere

    def _silence(self) -> TimeoutError:
        return TimeoutError(f"silent for {self._stale_after_s:.1f} s")


def _poll(sock: socket.socket, event: int, alarm: socket.socket) -> select.poll:
    poll = select.poll()
    poll.register(sock, event)
    poll.register(alarm, select.POLLIN)
    return poll


class _ClosedHere(Exception):
    """`close` was called while `chunks` waited: no error, only the way out."""
