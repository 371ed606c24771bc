"""`python -m bench.tickers PORT…`: HTTP exchanges that answer every ticker at once.

And the reference for fetching: a new connection for each question, from a pool of threads.
"""

import asyncio
import http.client
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

_THREADS = 32
_TIMEOUT_S = 10


class Ticker(asyncio.Protocol):
    """One connection; answers every request of what it receives."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._transport.write(b"".join(_answer(request) for request in requests))


def _answer(request: bytes) -> bytes:
    symbol = request.split(b" ", 2)[1].rpartition(b"/")[2]
    body = b'{"symbol":"%b","price":99704.89,"volume":12.5,"timestamp":%d}' % (symbol, time.time())
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    ) % (len(body), body)


def new_connections_rate(ports: Sequence[int], questions: int) -> float:
    """Return answers a second when each question has a connection of its own."""
    targets = [port for port, _ in zip(cycle(ports), range(questions), strict=False)]
    began = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(_fetch, targets))
    return questions / (time.perf_counter() - began)


def _fetch(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/mock/ticker/btcusdt")
        connection.getresponse().read()
    finally:
        connection.close()


async def _serve(ports: Sequence[int]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Ticker, "127.0.0.1", port, backlog=1024) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(_serve([int(port) for port in sys.argv[1:]]))
