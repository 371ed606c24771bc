"""The connections to one exchange, and the asks that wait for one of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from marketflow.adapters.exchange import http_connection
from marketflow.adapters.exchange.http_ask import HttpAsk
from marketflow.adapters.exchange.http_connection import Endpoint, HttpConnection
from marketflow.adapters.exchange.http_pace import Pace
from marketflow.adapters.exchange.http_response import Response
from marketflow.application.asset_ports import Answer
from marketflow.domain.errors import NotAsked, QuoteFailed


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How much one exchange may take of us."""

    connections: int = 16
    waiting: int = 4096  # asks without a connection; further ones are told `NotAsked`
    idle_s: float = 30.0  # an unused connection is closed after that


class Loop(http_connection.Loop, Protocol):
    """What a pool needs of the loop it lives in."""

    def hand_over(self, step: Callable[[float], None]) -> None:
        """Have the loop call *step* with the monotonic time soon; from any thread."""
        ...

    def is_behind(self) -> bool:
        """Tell whether so much was handed over that no more asks should be."""
        ...

    def forget(self, pool: HttpPool) -> None:
        """Take note that *pool* is closed."""
        ...


class HttpPool:
    """Sends each ask over a connection of its own for the while, kept alive between asks.

    `ask` and `close` are for any thread, the rest is for the loop's.
    """

    settled = False  # as far as `due` is concerned

    def __init__(
        self, endpoint: Endpoint, loop: Loop, limits: PoolLimits, *, max_rps: float | None
    ) -> None:
        self._endpoint = endpoint
        self._loop = loop
        self._limits = limits
        self._pace = Pace(max_rps)
        self._paused = False  # until the pace lets the next through
        self._connections: set[HttpConnection] = set()
        self._idle: list[HttpConnection] = []  # the one used last at the end
        self._waiting: OrderedDict[HttpAsk, None] = OrderedDict()
        self._pumping = False
        self._starved = False  # asks wait for a connection, not for the pace
        self._responded_at = 0.0
        self._closed = False

    def ask(
        self,
        request: bytes,
        deadline: float,
        *,
        read: Callable[[Response], Answer],
        tell: Callable[[Answer], None],
    ) -> None:
        """Send *request* and *tell* what *read* makes of the response, or why there is none."""
        ask = HttpAsk(self, request, deadline, read=read, tell=tell)
        if self._loop.is_behind():
            ask.answer(_too_many())
        else:
            self._loop.hand_over(partial(self._take, ask))

    def close(self) -> None:
        """Close every connection soon; what was asked, and will be, is told `NotAsked`."""
        self._loop.hand_over(self.shut)

    def shut(self, _now: float) -> None:
        """Close every connection; what was asked, and will be, is told `NotAsked`."""
        self._closed = True
        asks = [connection.ask for connection in self._connections if connection.ask is not None]
        for connection in list(self._connections):
            self._drop(connection)
        asks.extend(self._waiting)
        self._waiting.clear()
        self._loop.forget(self)
        for ask in asks:
            ask.answer(_closed())

    def sweep(self, now: float) -> None:
        """Close connections that nobody used for long."""
        while self._idle and now - self._idle[0].since >= self._limits.idle_s:
            self._drop(self._idle[0])

    def due(self, now: float) -> None:
        """Go on: the pace allows it again."""
        self._paused = False
        self._pump(now)

    def expire(self, ask: HttpAsk, now: float) -> None:
        """Answer *ask* as its deadline has come."""
        if ask in self._waiting:
            del self._waiting[ask]
            ask.answer(self._unsent(ask))
            return
        busy = next((one for one in self._connections if one.ask is ask), None)
        if busy is not None:
            self._drop(busy)  # its answer would come late, and be taken for another's
            if self._responded_at < ask.since:
                self._drop_idle()  # they may lead nowhere too
        ask.answer(_no_answer(ask))
        self._pump(now)

    def responded(self, connection: HttpConnection, response: Response, now: float) -> None:
        """Take the response to the connection's ask; the connection is idle now."""
        ask = connection.ask
        assert ask is not None
        self._responded_at = now
        ask.respond(response)
        connection.ask = None
        if response.keep:
            self._idle.append(connection)
        else:
            self._drop(connection)
        self._pump(now)

    def lost(self, connection: HttpConnection, failure: QuoteFailed | NotAsked, now: float) -> None:
        """Forget the connection, which is of no use any more; ask again where that helps."""
        ask = connection.ask
        self._drop(connection)
        if ask is not None:
            if connection.stale():
                # once only: a connection of its own cannot be stale
                self._pace.spend(now)
                self._open(ask, now)
            else:
                ask.answer(failure)
        self._pump(now)

    def _take(self, ask: HttpAsk, now: float) -> None:
        ask.since = now
        if self._closed:
            ask.answer(_closed())
        elif len(self._waiting) >= self._limits.waiting:
            ask.answer(_too_many())
        else:
            self._waiting[ask] = None
            self._loop.call_at(ask.deadline, ask)
            self._pump(now)

    def _pump(self, now: float) -> None:
        """Send what waits, as far as connections and the pace allow."""
        if self._pumping:
            return  # called from within: the loop below goes on
        self._pumping = True
        try:
            while self._waiting and self._may_send(now):
                ask, _ = self._waiting.popitem(last=False)
                if ask.deadline <= now:
                    ask.answer(self._unsent(ask))
                    continue
                self._starved = False
                self._pace.spend(now)
                if self._idle:
                    self._idle.pop().send(ask, now)
                else:
                    self._open(ask, now)
        finally:
            self._pumping = False

    def _may_send(self, now: float) -> bool:
        if not self._idle and len(self._connections) >= self._limits.connections:
            self._starved = True
            return False
        wait = self._pace.wait(now)
        if wait and not self._paused:
            self._paused = True
            self._loop.call_at(now + wait, self)
        return not wait

    def _open(self, ask: HttpAsk, now: float) -> None:
        connection = HttpConnection(self._endpoint, self, self._loop)
        self._connections.add(connection)
        connection.open(ask, now)

    def _unsent(self, ask: HttpAsk) -> Answer:
        """Return what to tell *ask*, whose deadline came while it waited: whose fault it was."""
        if self._starved and self._responded_at < ask.since:
            return _no_answer(ask)
        return NotAsked("others were asked first, for as long as there was time")

    def _drop_idle(self) -> None:
        for connection in list(self._idle):
            self._drop(connection)

    def _drop(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        connection.close()


def _no_answer(ask: HttpAsk) -> QuoteFailed:
    return QuoteFailed(f"no answer within {round(ask.deadline - ask.since, 2):g} s")


def _closed() -> NotAsked:
    return NotAsked("asking was ended")


def _too_many() -> NotAsked:
    return NotAsked("too many wait to be asked already")
