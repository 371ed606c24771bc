"""The loop that asks all exchanges over HTTP, on one thread."""

from __future__ import annotations

import contextlib
import heapq
import logging
import selectors
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from time import monotonic

from marketflow.adapters.exchange.http_connection import Due, Endpoint, HttpConnection
from marketflow.adapters.exchange.http_pool import HttpPool, PoolLimits
from marketflow.adapters.exchange.http_resolver import Resolver

log = logging.getLogger(__name__)

_READ = selectors.EVENT_READ
_SWEEP_S = 1.0
_MOST_HANDED_OVER = 16_384  # steps, by threads that are faster than the loop


class HttpClient:
    """Moves bytes for the pools of all exchanges; `run` is the body of a thread of its own.

    Should that thread die, `run` may be called again by another and goes on. *tls* says whom to
    trust, if not those whom the system trusts.
    """

    def __init__(
        self, limits: PoolLimits | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.resolver = Resolver(self.hand_over)
        self._limits = limits or PoolLimits()
        self._tls = tls
        self._pools: set[HttpPool] = set()
        self._steps: deque[Callable[[float], None]] = deque()
        self._agenda: list[tuple[float, int, Due]] = []  # a heap
        self._numbers = count()
        self._next_sweep = 0.0
        self._io: _Io | None = None  # once `run` has begun
        self._awake = True
        self._turning = threading.Lock()  # held by whoever may touch what the loop owns
        self._closed = threading.Event()

    def pool(self, endpoint: Endpoint, *, max_rps: float | None) -> HttpPool:
        """Return a new pool of connections to *endpoint*; close it when it is not used any more."""
        pool = HttpPool(endpoint, self, self._limits, max_rps=max_rps)
        self._pools.add(pool)
        return pool

    def tls(self) -> ssl.SSLContext:
        """Return how exchanges are trusted: unless told otherwise, as the system does."""
        if self._tls is None:
            self._tls = ssl.create_default_context()  # slow, and most need none
        return self._tls

    def run(self) -> None:
        """Serve until `close`."""
        with self._turning:
            while not self._closed.is_set():
                try:
                    self._turn()
                except Exception:
                    log.exception("asking exchanges failed")
                    self._closed.wait(0.05)  # it may go on failing
        self._finish()

    def close(self) -> None:
        """End `run`, and close every connection; what was asked, and will be, is `NotAsked`."""
        self._closed.set()
        self._wake()
        self._finish()

    def hand_over(self, step: Callable[[float], None]) -> None:
        """Have the loop call *step* with the monotonic time soon; from any thread."""
        self._steps.append(step)
        if self._closed.is_set():
            self._finish()
        else:
            self._wake()

    def is_behind(self) -> bool:
        """Tell whether so much was handed over that no more asks should be."""
        return len(self._steps) >= _MOST_HANDED_OVER

    def forget(self, pool: HttpPool) -> None:
        """Take note that *pool* is closed."""
        self._pools.discard(pool)

    def call_at(self, when: float, due: Due) -> None:
        """Call `due` at *when*, in monotonic seconds, if it is not settled by then."""
        heapq.heappush(self._agenda, (when, next(self._numbers), due))

    def watch(self, connection: HttpConnection, events: int) -> None:
        """Call the connection's `ready` on these events alone; 0 for none."""
        assert self._io is not None
        selector, descriptor = self._io.selector, connection.sock.fileno()
        if not connection.events:
            selector.register(descriptor, events, connection)
        elif events:
            selector.modify(descriptor, events, connection)
        else:
            selector.unregister(descriptor)
        connection.events = events

    def _turn(self) -> None:
        """Serve what is ready, then what other threads handed over, then what is due."""
        if self._io is None:
            self._io = _Io()
        self._awake = False  # from here on, whoever hands over must wake us
        ready = self._io.selector.select(self._pause_s())
        self._awake = True
        now = monotonic()
        for key, _ in ready:
            connection: HttpConnection | None = key.data
            if connection is None:
                self._io.woken.recv(4096)
            elif connection.events:  # it may have been closed a moment ago
                self._serve(connection, now)
        for _ in range(len(self._steps)):
            self._guard(self._steps.popleft(), now)
        while self._agenda and self._agenda[0][0] <= now:
            self._guard(heapq.heappop(self._agenda)[2].due, now)
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_S
            for pool in list(self._pools):
                self._guard(pool.sweep, now)

    def _pause_s(self) -> float:
        if self._steps or self._closed.is_set():
            return 0.0
        agenda, until = self._agenda, self._next_sweep
        while agenda and agenda[0][2].settled:
            heapq.heappop(agenda)
        if agenda:
            until = min(until, agenda[0][0])
        return max(0.0, until - monotonic())

    def _wake(self) -> None:
        io = self._io
        if not self._awake and io is not None:
            self._awake = True
            # after `close` nobody listens, and nobody needs to
            with contextlib.suppress(OSError):
                io.waker.send(b"\0")

    def _serve(self, connection: HttpConnection, now: float) -> None:
        try:
            connection.ready(now)
        except Exception:
            log.exception("connection to an exchange failed")
            self._guard(connection.give_up, now)

    def _guard(self, step: Callable[[float], None], now: float) -> None:
        try:
            step(now)
        except Exception:
            log.exception("a step of asking exchanges failed")

    def _finish(self) -> None:
        """Close everything and tell everyone, unless another thread is there to do it."""
        # looked at again after the release: what was handed over until then found it held
        while self._left() and self._turning.acquire(blocking=False):
            try:
                now = monotonic()
                for pool in list(self._pools):
                    self._guard(pool.shut, now)
                while self._steps:
                    self._guard(self._steps.popleft(), now)
                self._agenda.clear()
                if self._io is not None:
                    self._io.close()
                    self._io = None
            finally:
                self._turning.release()

    def _left(self) -> bool:
        return bool(self._pools or self._steps or self._io is not None)


class _Io:
    """The selector, and the pair of sockets through which it is woken."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.waker, self.woken = socket.socketpair()
        self.waker.setblocking(False)
        self.selector.register(self.woken, _READ)

    def close(self) -> None:
        self.selector.close()
        self.waker.close()
        self.woken.close()
