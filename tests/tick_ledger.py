"""Ticks for a publisher, and what a mirror of them must hold."""

from random import Random

from marketflow.application.pipeline.folding import Part
from marketflow.application.pipeline.messages import Batch, Origin
from marketflow.application.ports import Series
from marketflow.domain.mode import Mode
from marketflow.domain.stat import Rows
from marketflow.domain.tick import MAX_PRICE, Ticks, Turn

EXCHANGES = ("exchange1", "exchange2", "exchange3")
SYMBOLS = ("BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT")
BTC = Series(Mode.LIVE, "exchange1", "BTCUSDT")


def part_of(ticks, every):
    """Return so many *ticks* of one pair, of which a mirror wants to know no more than *every*."""
    return Part(ticks, Rows(*([],) * 8), 0.0, 0, every)


def batch_of(ticks, *, origin=None):
    """Return a batch as workers make them of {symbol: [(timestamp_ms, price)]}."""
    origin = origin or Origin(Mode.LIVE, "exchange1", 0)
    if all(len(pairs) == 1 for pairs in ticks.values()):
        return Batch(origin, 0, 0, 0, turns=[turn_of(ticks)])
    parts = {
        symbol: part_of(len(pairs), Ticks(*map(list, zip(*pairs, strict=True))))
        for symbol, pairs in ticks.items()
    }
    return Batch(origin, 0, 0, 0, parts)


def turn_of(ticks):
    """Return one tick of each pair, as `batch_of` takes them, as a turn."""
    columns = [list(column) for column in zip(*(pairs[0] for pairs in ticks.values()), strict=True)]
    texts = ([repr(value).encode() for value in column] for column in columns)
    return Turn(tuple(ticks), *columns, *texts)


class Feed:
    """Offers random ticks of every series to a publisher; `ledger` is all it has offered."""

    def __init__(self, publisher, seed=1):
        self._publisher = publisher
        self._random = Random(seed)
        self.ledger = {}  # series -> [(timestamp_ms, price)]
        self.latest = {}  # (mode, symbol) -> {exchange: (timestamp_ms, price)}

    def offer(self, at_ms, *, most=5):
        """Offer a batch of each exchange, of up to *most* ticks per pair, or one of some."""
        for exchange in EXCHANGES:
            most_now = self._random.choice((most, most, 1))
            ticks = {
                symbol: [self._tick(at_ms) for _ in range(count)]
                for symbol in SYMBOLS
                if (count := self._random.randint(0, most_now))
            }
            if not ticks:
                continue
            for symbol, pairs in ticks.items():
                self.ledger.setdefault(Series(Mode.LIVE, exchange, symbol), []).extend(pairs)
                self.latest.setdefault((Mode.LIVE, symbol), {})[exchange] = pairs[-1]
            self._publisher.offer(batch_of(ticks, origin=Origin(Mode.LIVE, exchange, 0)))

    def _tick(self, at_ms):
        price = self._random.choice(
            (self._random.uniform(0, 100_000), 5e-324, MAX_PRICE, 0.1 + 0.2, 1e-07, 1e16)
        )
        return at_ms - self._random.randrange(1000), price
