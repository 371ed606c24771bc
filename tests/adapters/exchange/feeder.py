"""An exchange for the TCP source to connect to."""

import socket
import threading
from contextlib import ExitStack, closing, contextmanager

from marketflow.adapters.exchange.tcp import TcpSource
from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.domain.catalog import Catalog

NOW = 1_795_250_905_682
DECODER = WireDecoder(
    Catalog(["BTCUSDT"], ["exchange1"]), max_clock_skew_ms=60_000, max_line=65_536
)


def line(number=1):
    return b'{"symbol":"BTCUSDT","price":%d.5,"timestamp":%d}\n' % (number, NOW)


class Exchange:
    """A listening socket that sends what the test says."""

    def __init__(self, host="127.0.0.1", backlog=8):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family, backlog=backlog)
        self.host, self.port = self.listener.getsockname()[:2]

    def accept(self):
        self.listener.settimeout(5)
        client, _ = self.listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(5)
        return client

    def close(self):
        self.listener.close()


def source_of(exchange, **settings):
    defaults = {
        "decode": DECODER.decode,
        "connect_timeout_s": 5.0,
        "stale_after_s": 5.0,
        "coalesce_s": 0.0,
        "max_line": 65_536,
    }
    return TcpSource("exchange1", exchange.host, exchange.port, **(defaults | settings))


@contextmanager
def connected(exchange, **settings):
    with closing(source_of(exchange, **settings).chunks()) as chunks:
        assert next(chunks) == b""
        with exchange.accept() as client:
            yield chunks, client


@contextmanager
def running(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(10)
        assert not thread.is_alive()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def unanswering():
    """An exchange whose queue of connections is full: the next one waits for an answer."""
    with ExitStack() as stack:
        one = stack.enter_context(closing(Exchange(backlog=0)))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((one.host, one.port))
        yield one
