"""Exchanges served by a thread of the test, and clients that count lines."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread

import pytest

from fakeexchange.http_server import HttpExchange
from fakeexchange.prices import Playback, bursts
from fakeexchange.server import Exchange, Server
from fakeexchange.tcp_server import TcpExchange
from fakeexchange.tickers import Tickers


@pytest.fixture
def run() -> Iterator[Callable[[Exchange], None]]:
    """Serve an exchange until the test ends."""
    with ExitStack() as stack:

        def start(exchange: Exchange) -> None:
            server = Server([exchange])
            server.open()
            thread = Thread(target=server.run, name="fakeexchange")
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.stop)

        yield start


@pytest.fixture
def serve(run) -> Callable[..., TcpExchange]:
    """Start an exchange on a free port; takes `rate`, `seed` and the options of `TcpExchange`."""

    def start(*, rate=50.0, seed=1, **options) -> TcpExchange:
        playback = Playback(bursts(1, rate=rate, seed=seed))
        exchange = TcpExchange("exchange1", playback, **options)
        run(exchange)
        return exchange

    return start


@pytest.fixture
def serve_http(run) -> Callable[..., int]:
    """Start an exchange over HTTP and return its port; takes the options of `Tickers`."""

    def start(symbols=("btcusdt", "ethusdt"), **options) -> int:
        exchange = HttpExchange("exchange1", Tickers(1, symbols, **options))
        run(exchange)
        return exchange.listener.port

    return start


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Connect to an exchange."""
    with ExitStack() as stack:

        def open_connection(port, receive_buffer=None) -> socket.socket:
            connection = stack.enter_context(socket.socket())
            connection.settimeout(10)
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.connect(("127.0.0.1", port))
            return connection

        yield open_connection
