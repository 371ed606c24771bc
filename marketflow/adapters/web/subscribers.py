"""The clients of a stream: what each has not yet taken, and whose turn it is."""

import select
import socket
from collections import deque
from collections.abc import Iterator
from math import inf
from time import monotonic
from typing import Protocol

from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.response import Subscription

_READ = select.EPOLLIN
_WRITE = select.EPOLLOUT
_DISCARDED_BYTES = 64 * 1024
_NOTHING = memoryview(b"")
_MAX_BEHIND = 256 * 1024  # what may wait for a client before it is given up
_KERNEL_BYTES = 64 * 1024  # more of it would only hide that a client does not read
_SLOT_S = 0.005  # for which other connections may have to wait


class Stream(Protocol):
    """What all subscriptions have in common."""

    interval_s: float

    def beat(self, now: float) -> bool:
        """Gather what there is to tell until *now* (monotonic); False if there is nothing."""
        ...


class Loop(Protocol):
    """What a subscriber needs of the loop it lives in."""

    limits: Limits

    def watch(self, connection: "Subscriber", events: int) -> None:
        """Call `read` or `write` on this event alone."""
        ...

    def drop(self, connection: "Subscriber", why: str = "") -> None:
        """Close and forget, counting *why*."""
        ...


class Subscriber:
    """A client's socket after its stream has begun; the poll thread alone touches it.

    Nobody waits for it: what it does not take at once is kept, by reference to frames that all
    share, until there is too much of it or it takes nothing for too long.
    """

    __slots__ = (
        "_frames",
        "_waiting",
        "closing",
        "events",
        "loop",
        "since",
        "socket",
        "subscription",
        "unsent",
    )

    def __init__(
        self, client: socket.socket, subscription: Subscription, loop: Loop, now: float
    ) -> None:
        self.socket = client
        self.subscription = subscription
        self.loop = loop
        self.events = 0  # what the loop watches for
        self.since = now  # of the last progress in sending *unsent*
        self.unsent = _NOTHING  # of the frame that is being sent
        self.closing = False
        self._frames: list[bytes] = []  # after that one
        self._waiting = 0  # bytes of all these

    def idle(self) -> bool:
        """Never: it has asked for what is to come."""
        return False

    def begin(self, unsent: memoryview) -> None:
        """Send what is *unsent* of the stream's beginning, then what `tell` adds."""
        client = self.socket
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        # a peer that vanished without a word answers nothing: no FIN would ever tell us
        timeout_ms = round(self.loop.limits.write_timeout * 1000)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
        self.unsent, self._waiting = unsent, len(unsent)
        self.loop.watch(self, _WRITE if unsent else _READ)

    def tell(self, now: float) -> None:
        """Send what the stream's last beat has for this client."""
        frame = self.subscription.frame()
        if not frame:
            return
        if self.unsent:
            if self._waiting > _MAX_BEHIND:
                self.loop.drop(self, "timeouts")
                return
            self._frames.append(frame)
            self._waiting += len(frame)
            return
        try:
            sent = self.socket.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.loop.drop(self, "resets")
            return
        if sent < len(frame):
            self.since = now
            self.unsent = memoryview(frame)[sent:]
            self._waiting = len(self.unsent)
            self.loop.watch(self, _WRITE)

    def read(self, now: float) -> None:  # noqa: ARG002  the loop calls connections like this
        """Notice that the client leaves; whatever it says is not answered."""
        try:
            data = self.socket.recv(_DISCARDED_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.loop.drop(self, "resets")
            return
        if not data:
            self.loop.drop(self)

    def write(self, now: float) -> None:
        """Send more of what is unsent."""
        try:
            sent = self.socket.send(self.unsent)
        except BlockingIOError:
            return
        except OSError:
            self.loop.drop(self, "resets")
            return
        self.since = now
        self._waiting -= sent
        self.unsent = self.unsent[sent:]
        if not self.unsent:
            self.unsent = memoryview(self._frames.pop(0)) if self._frames else _NOTHING
        if not self.unsent:
            self.loop.watch(self, _READ)

    def check(self, now: float) -> None:
        """End a client that takes nothing."""
        if self.unsent and now - self.since > self.loop.limits.write_timeout:
            self.loop.drop(self, "timeouts")

    def drain(self, now: float) -> None:  # noqa: ARG002  the loop calls connections like this
        """End the stream: there is no end it could wait for."""
        self.loop.drop(self)


class Subscribers:
    """Those who listen to one stream, and when they are told more."""

    def __init__(self, stream: Stream | None) -> None:
        self.due_at = inf  # when `slot` has something to do, monotonic; never without subscribers
        self._stream = stream
        self._all: set[Subscriber] = set()
        self._turns: deque[Subscriber] = deque()  # who is still to be told of the last beat
        self._next_beat = 0.0

    def __len__(self) -> int:
        return len(self._all)

    def expect_one(self) -> None:
        """Check that there is something to subscribe to.

        Raises:
            RuntimeError: the server was built without a stream.
        """
        if self._stream is None:
            raise RuntimeError("stream must be given to a server that answers with subscriptions")

    def add(self, subscriber: Subscriber, now: float) -> None:
        """Tell *subscriber*, too, from the next beat on."""
        if not self._all and self._stream is not None:
            self.due_at = self._next_beat = now + self._stream.interval_s
        self._all.add(subscriber)

    def discard(self, subscriber: object) -> None:
        """Forget *subscriber*, if it is one."""
        if subscriber in self._all:
            self._all.remove(subscriber)
            if not self._all:
                self.due_at = inf
                self._turns.clear()

    def slot(self, now: float) -> Iterator[Subscriber]:
        """Yield those whose turn it is, for as long as others may be kept waiting."""
        if not self._turns and self._stream is not None:
            self.due_at = self._next_beat = now + self._stream.interval_s
            if self._stream.beat(now):
                self._turns.extend(self._all)
        while self._turns and monotonic() - now < _SLOT_S:
            subscriber = self._turns.popleft()
            if subscriber in self._all:
                yield subscriber
        if self._all:
            self.due_at = now if self._turns else self._next_beat
