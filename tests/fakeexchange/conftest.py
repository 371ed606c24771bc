"""Exchanges served by a thread of the test, and clients that count lines."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread

import pytest

from fakeexchange.exchange import Exchange
from fakeexchange.prices import Playback, bursts
from fakeexchange.tcp_server import Server


@pytest.fixture
def serve() -> Iterator[Callable[..., Exchange]]:
    """Start an exchange on a free port; takes `rate`, `seed` and the options of `Exchange`."""
    with ExitStack() as stack:

        def start(*, rate=50.0, seed=1, **options) -> Exchange:
            playback = Playback(bursts(1, rate=rate, seed=seed))
            exchange = Exchange("exchange1", playback, **options)
            server = Server([exchange])
            server.open()
            thread = Thread(target=server.run, name="fakeexchange")
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.stop)
            return exchange

        yield start


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
