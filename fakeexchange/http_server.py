"""One exchange over HTTP: its port, its clients, and answers that come late on purpose."""

import selectors
import socket
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import monotonic, time

from fakeexchange.http_client import HttpClient
from fakeexchange.http_messages import Answer, Request
from fakeexchange.listener import Listener
from fakeexchange.tickers import Tickers

MAX_CLIENTS = 1024  # of one exchange; more wait in the listen queue
_IDLE_MS = 1000.0  # the longest sleep


class HttpExchange:
    """Serves *tickers* on one port; used by one thread."""

    kind = "http"

    def __init__(
        self, name: str, tickers: Tickers, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.name = name
        self.listener = Listener(name, host=host, port=port, accepted=self._welcome)
        self._tickers = tickers
        self._clients: set[HttpClient] = set()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []  # a heap
        self._numbers = count()  # so that no two calls are compared

    def open(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        self.listener.open(selector)

    def turn(self, mono_ms: float, wall_ms: float) -> None:  # noqa: ARG002  TCP exchanges need both
        """Make the calls that are due, accept again."""
        while self._calls and self._calls[0][0] <= mono_ms:
            heappop(self._calls)[2]()
        self.listener.turn(mono_ms, has_room=len(self._clients) < MAX_CLIENTS)

    def next_ms(self, mono_ms: float) -> float:
        idle_ms = mono_ms + _IDLE_MS
        return min(idle_ms, self._calls[0][0]) if self._calls else idle_ms

    def close(self) -> None:
        self.listener.close()
        for client in tuple(self._clients):
            client.close()

    def answer(self, request: Request) -> Answer:
        """Return the answer to *request* of a client."""
        return self._tickers.answer(request, monotonic() * 1000.0, time() * 1000.0)

    def at(self, mono_ms: float, call: Callable[[], None]) -> None:
        """Make the *call* when it is due."""
        heappush(self._calls, (mono_ms, next(self._numbers), call))

    def forget(self, client: HttpClient) -> None:
        """Make room: *client* is closed."""
        self._clients.remove(client)

    def _welcome(self, connection: socket.socket, _: str) -> None:
        # not logged: clients that open one connection per request would fill the log
        client = HttpClient(connection, self)
        self._clients.add(client)
        client.start()
