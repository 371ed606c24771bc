"""Ticks for a publisher, and what a mirror of them must hold."""

from random import Random

from marketflow.application.pipeline.messages import Batch, Origin, Part
from marketflow.application.ports import Series
from marketflow.domain.mode import Mode
from marketflow.domain.tick import MAX_PRICE, Ticks

EXCHANGES = ("exchange1", "exchange2", "exchange3")
SYMBOLS = ("BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT")
BTC = Series(Mode.LIVE, "exchange1", "BTCUSDT")


def batch_of(ticks, *, origin=None):
    """Return a batch as workers make them of {symbol: [(timestamp_ms, price)]}."""
    parts = {
        symbol: Part(len(pairs), [], [], Ticks(*map(list, zip(*pairs, strict=True))))
        for symbol, pairs in ticks.items()
    }
    return Batch(origin or Origin(Mode.LIVE, "exchange1", 0), 0, 0, 0, parts)


class Feed:
    """Offers random ticks of every series to a publisher; `ledger` is all it has offered."""

    def __init__(self, publisher, seed=1):
        self._publisher = publisher
        self._random = Random(seed)
        self.ledger = {}  # series -> [(timestamp_ms, price)]
        self.latest = {}  # (mode, symbol) -> {exchange: (timestamp_ms, price)}

    def offer(self, at_ms, *, most=5):
        """Offer a batch of each exchange, of up to *most* ticks per pair."""
        for exchange in EXCHANGES:
            ticks = {
                symbol: [self._tick(at_ms) for _ in range(count)]
                for symbol in SYMBOLS
                if (count := self._random.randint(0, most))
            }
            for symbol, pairs in ticks.items():
                self.ledger.setdefault(Series(Mode.LIVE, exchange, symbol), []).extend(pairs)
                self.latest.setdefault((Mode.LIVE, symbol), {})[exchange] = pairs[-1]
            self._publisher.offer(batch_of(ticks, origin=Origin(Mode.LIVE, exchange, 0)))

    def _tick(self, at_ms):
        price = self._random.choice(
            (self._random.uniform(0, 100_000), 5e-324, MAX_PRICE, 0.1 + 0.2, 1e-07, 1e16)
        )
        return at_ms - self._random.randrange(1000), price
