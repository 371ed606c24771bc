"""Lines as an exchange sends them, and a decoder for them."""

from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.domain.catalog import Catalog

NOW = 1_795_250_905_682
SKEW = 60_000
MAX_LINE = 65_536
CATALOG = Catalog(["BTCUSDT", "DOGEUSDT", "ETHUSDT"], ["exchange1"])


class ByPair(WireDecoder):
    """A decoder that gives turns by pair too, as all the other ways do."""

    def _by_pattern(self, chunk, received_ms):
        decoded = super()._by_pattern(chunk, received_ms)
        return decoded and decoded.by_pair()


def decoder(max_line=MAX_LINE, kind=ByPair):
    return kind(CATALOG, max_clock_skew_ms=SKEW, max_line=max_line)


def line(symbol="BTCUSDT", price="100007.52446808359", timestamp=NOW):
    return b'{"symbol":"%s","price":%s,"timestamp":%d}\n' % (
        symbol.encode(),
        price.encode(),
        timestamp,
    )
