"""Feeds that play what a test wrote down, and the lines and the decoder that go with them."""

from threading import Event

from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.domain.catalog import Catalog
from marketflow.domain.errors import FeedLost

SYMBOLS = ("BTCUSDT", "DOGEUSDT")
EXCHANGES = ("exchange1", "exchange2", "exchange3")


def line(symbol, price, timestamp_ms):
    """Return a tick as it stands on the wire."""
    return f'{{"symbol":"{symbol}","price":{price!r},"timestamp":{timestamp_ms}}}\n'.encode()


def wire_decoder(symbols=SYMBOLS, *, max_clock_skew_ms=60_000):
    """Return the decoder that every real source shares."""
    catalog = Catalog(symbols, EXCHANGES)
    return WireDecoder(catalog, max_clock_skew_ms=max_clock_skew_ms, max_line=65_536)


class ListSource:
    """A `TickSource` whose every connection is a list of chunks; after it the feed is lost.

    A callable instead of a chunk is called, `WAIT` waits until the source is closed, and an
    exception is raised. After the last connection every further one is refused.
    """

    address = "a list"
    WAIT = object()

    def __init__(self, exchange, *connections, decode=None):
        self.exchange = exchange
        self.attempts = 0
        self._connections = list(connections)
        self._decode = decode or wire_decoder().decode
        self._closed = Event()

    def chunks(self):
        self.attempts += 1
        if not self._connections:
            raise FeedLost("refused")
        for step in self._connections.pop(0):
            if self._closed.is_set():
                return
            if step is self.WAIT:
                self._closed.wait()
            elif isinstance(step, Exception):
                raise step
            elif callable(step):
                step()
            else:
                yield step
        if not self._closed.is_set():
            raise FeedLost("closed by the exchange")

    def decode(self, chunk, received_ms):
        return self._decode(chunk, received_ms)

    def close(self):
        self._closed.set()
