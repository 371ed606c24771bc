"""The poll thread's loop: which connections there are, and whose turn it is."""

import contextlib
import heapq
import logging
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic

from marketflow.adapters.web.connection import Connection
from marketflow.adapters.web.headers import HeadCache
from marketflow.adapters.web.http1 import Reader
from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.refusal import Refusal
from marketflow.adapters.web.responder import Responder
from marketflow.adapters.web.response import Subscription
from marketflow.adapters.web.subscribers import Stream, Subscriber, Subscribers

log = logging.getLogger(__name__)

_READ = select.EPOLLIN
_DISCARDED_BYTES = 64 * 1024
_MOST_HELD = 64  # answers
_BURST = 64  # connections admitted before the others get their turn

Peer = Connection | Subscriber


@dataclass(slots=True)
class Counts:
    """What happened to connections so far."""

    accepted: int = 0
    resets: int = 0  # the client vanished while we read or wrote
    timeouts: int = 0  # readers that were too slow
    shed: int = 0  # idle ones, closed to make room
    turned_away: int = 0  # there was no room to make


class Poller:
    """Serves all connections from one thread; `run` is that thread's body."""

    def __init__(
        self,
        responder: Responder,
        limits: Limits,
        *,
        capacity: int,
        stream: Stream | None = None,
    ) -> None:
        self.responder = responder
        self.limits = limits
        self.counts = Counts()
        self._capacity = capacity
        self._heads = HeadCache(limits)
        self._connections: set[Peer] = set()
        self._subscribers = Subscribers(stream)
        # not `selectors`: its wrapping of each event takes 0.4 us, a 25th of an answer
        self._epoll = select.epoll()
        self._watched: dict[int, Peer] = {}
        # A client that is told while we make the next answer falls asleep again before it comes,
        # and waking it costs us 5 us. So the answers of a turn are made first, then sent: under
        # load a third more of them. None: they are sent at once.
        self.held: list[Connection] | None = None
        self._steps: deque[tuple[Peer | None, Callable[[float], None]]] = deque()
        self._admitted = threading.Semaphore(1)  # the burst that was handed over last
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._epoll.register(self._woken, _READ)
        self._waking = False
        self._closed_to_more = threading.Event()
        self._deadline: float | None = None
        self._second = 0
        self._next_sweep = 0.0
        timeouts = (limits.request_timeout, limits.idle_timeout, limits.write_timeout)
        self._sweep_every = min(1.0, *(t / 4 for t in timeouts), limits.linger_timeout / 4)

    def __len__(self) -> int:
        return len(self._connections)

    def subscribers(self) -> int:
        """Return how many connections listen to the stream."""
        return len(self._subscribers)

    def adopt(self, client: socket.socket, listener: socket.socket) -> None:
        """Take over *client* from another thread, with all that wait behind it on *listener*."""
        # were each accepted by the other thread, the two would fight for the interpreter: 47 us of
        # processor time for a connection with one request, against 42 this way (the floor: 32)
        while not self._admitted.acquire(timeout=0.1):
            if self._closed_to_more.is_set():
                client.close()
                return
        self.hand_over(None, partial(self._admit_burst, client, listener))

    def adopt_no_more(self) -> None:
        """Let nobody wait in `adopt` from now on."""
        self._closed_to_more.set()

    def hand_over(self, connection: Peer | None, step: Callable[[float], None]) -> None:
        """Have the poll thread call *step* with the monotonic time soon; from any thread."""
        self._steps.append((connection, step))
        if not self._waking:
            self._waking = True
            # after `close` nobody listens, and nobody needs to
            with contextlib.suppress(OSError):
                self._waker.send(b"\0")

    def finish(self, deadline: float) -> None:
        """End `run` once all that arrived is answered, or at *deadline* (monotonic).

        Nothing may be adopted afterwards.
        """
        self.hand_over(None, partial(self._drain, deadline))

    def run(self) -> None:
        """Serve until `finish`, then close everything."""
        while self._deadline is None or (self._connections and monotonic() < self._deadline):
            try:
                self._turn(self._patience_s())
            except Exception:
                log.exception("poll turn failed")
                self._closed_to_more.wait(0.05)  # it may go on failing
        self.close()

    def close(self) -> None:
        """Close everything; only where `run` does not run."""
        for connection in list(self._connections):
            self.drop(connection)
        self._epoll.close()
        self._waker.close()
        self._woken.close()

    def watch(self, connection: Peer, events: int) -> None:
        """Call the connection's `read` or `write` on this event alone; 0 for none."""
        descriptor = connection.socket.fileno()
        if not connection.events:
            self._epoll.register(descriptor, events)
            self._watched[descriptor] = connection
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)
            del self._watched[descriptor]
        connection.events = events

    def drop(self, connection: Peer, why: str = "") -> None:
        """Close and forget, counting *why* (a field of `Counts`)."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._subscribers.discard(connection)
        if connection.events:
            self.watch(connection, 0)
        connection.closing = True
        connection.unsent = memoryview(b"")
        connection.socket.close()
        if why:
            setattr(self.counts, why, getattr(self.counts, why) + 1)

    def subscribe(self, connection: Connection, subscription: Subscription, now: float) -> None:
        """Take the socket over and send what is unsent, then what *subscription* tells."""
        self._subscribers.expect_one()
        if connection not in self._connections:
            return  # the client has left meanwhile
        if self.responder.draining:
            self.drop(connection)
            return
        if connection.events:
            self.watch(connection, 0)
        # the connection is left without a socket: what it still does has no effect
        client = socket.socket(fileno=connection.socket.detach())
        client.setblocking(False)
        subscriber = Subscriber(client, subscription, self, now)
        self._connections.remove(connection)
        self._connections.add(subscriber)
        self._subscribers.add(subscriber, now)
        subscriber.begin(connection.unsent)

    def _patience_s(self) -> float:
        if self._deadline is not None:
            return 0.02
        due_at = self._subscribers.due_at
        if due_at == inf:
            return self._sweep_every
        return min(self._sweep_every, max(0.0, due_at - monotonic()))

    def _turn(self, timeout: float) -> None:
        """Serve every connection that is ready, then what other threads handed over."""
        ready = self._epoll.poll(timeout)
        now = monotonic()
        if int(now) != self._second:
            self._second = int(now)
            self.responder.refresh_date()
        held: list[Connection] = []
        self.held = held if len(ready) > 1 else None
        for descriptor, _ in ready:
            connection = self._watched.get(descriptor)
            if connection is None:
                if descriptor == self._woken.fileno():
                    self._woken.recv(4096)
                continue  # dropped since
            try:
                # an error is found out by doing what was waited for
                if connection.events == _READ:
                    connection.read(now)
                else:
                    connection.write(now)
            except Exception:  # noqa: BLE001  reported by `_failed`
                self._failed(connection)
            if len(held) >= _MOST_HELD:
                self._send_held(held, now)
        self.held = None
        self._send_held(held, now)
        # before the steps are counted: whoever hands over from here on must wake us again
        self._waking = False
        for _ in range(len(self._steps)):
            connection, step = self._steps.popleft()
            self._guard(connection, step, now)
        if now >= self._subscribers.due_at:
            for subscriber in self._subscribers.slot(now):
                self._guard(subscriber, subscriber.tell, now)
        if now >= self._next_sweep:
            self._next_sweep = now + self._sweep_every
            for connection in list(self._connections):
                self._guard(connection, connection.check, now)

    def _send_held(self, held: list[Connection], now: float) -> None:
        for connection in held:
            try:
                connection.send_held(now)
            except Exception:  # noqa: BLE001  reported by `_failed`
                self._failed(connection)
        held.clear()

    def _guard(self, connection: Peer | None, step: Callable[[float], None], now: float) -> None:
        try:
            step(now)
        except Exception:  # noqa: BLE001  reported by `_failed`
            self._failed(connection)

    def _failed(self, connection: Peer | None) -> None:
        log.error("connection failed", exc_info=sys.exc_info())
        if connection is not None:
            self.drop(connection)

    def _admit_burst(self, client: socket.socket, listener: socket.socket, now: float) -> None:
        try:
            self._admit(client, now)
            for _ in range(_BURST):
                client, _ = listener.accept()
                # not *now*: who came later must not look idle for as long
                self._admit(client, monotonic())
        except OSError:
            pass  # nobody else waits, or accepting fails: the other thread will meet that too
        finally:
            self._admitted.release()

    def _admit(self, client: socket.socket, now: float) -> None:
        client.setblocking(False)
        self.counts.accepted += 1
        if len(self._connections) >= self._capacity and not self._shed():
            self._turn_away(client, now)
            return
        connection = Connection(client, Reader(self._heads, self.limits), self, now)
        self._connections.add(connection)
        self._guard(connection, connection.begin, now)

    def _shed(self) -> bool:
        """Make room by closing the longest idle; some at a time, since finding them is slow."""
        idle = (connection for connection in self._connections if connection.idle())
        oldest = heapq.nsmallest(max(1, self._capacity // 64), idle, key=lambda c: c.since)
        for connection in oldest:
            self.drop(connection, "shed")
        return bool(oldest)

    def _turn_away(self, client: socket.socket, now: float) -> None:
        self.counts.turned_away += 1
        refusal = Refusal(503, f"there are {self._capacity} connections, which is the limit")
        # best effort, from here on: it is turned away in any case
        with client, contextlib.suppress(OSError):
            client.send(self.responder.refuse(refusal, now))
            client.shutdown(socket.SHUT_WR)
            client.recv(_DISCARDED_BYTES)  # what is left unread would turn the answer into a reset

    def _drain(self, deadline: float, now: float) -> None:
        self._deadline = deadline
        self.responder.draining = True
        for connection in list(self._connections):
            self._guard(connection, connection.drain, now)
