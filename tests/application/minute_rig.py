"""A pipeline that was told ticks, some of them stored, and what was told in a ledger."""

from random import Random
from typing import NamedTuple

from marketflow.application.candles import Candles
from marketflow.application.gaps import Gaps
from marketflow.application.history import History
from marketflow.application.minutes import Minutes
from marketflow.domain.candle import align
from tests.application.rig import Rig
from tests.fake_sources import EXCHANGES, line


class Told(NamedTuple):
    exchange: str
    timestamp_ms: int
    price: float


class MinuteRig:
    """Questions about minutes over a `Rig`; `told` is every tick of BTCUSDT that went in."""

    def __init__(self, **settings):
        self.rig = Rig(**settings)
        self.clock, self.store, self.outbox = self.rig.clock, self.rig.store, self.rig.outbox
        self.feeds = {name: self.rig.feed(name) for name in EXCHANGES}
        self.told = []
        self._flushes = 0
        self.minutes = Minutes(
            self.rig.market,
            clock=self.clock,
            store=self.store,
            unstored=(self.rig.collector.minutes, self.rig.flusher.waiting),
            rules=self.rig.rules,
        )
        self.history = History(self.minutes)
        self.candles = Candles(self.minutes)
        self.gaps = Gaps(self.minutes)

    @property
    def now_ms(self):
        return self.clock.now().wall_ms

    def tell(self, exchange, price, timestamp_ms=None):
        """Let a tick arrive; at once, if not said otherwise."""
        at = self.now_ms if timestamp_ms is None else timestamp_ms
        self.rig.receive(self.feeds[exchange].hear(line("BTCUSDT", price, at)))
        self.told.append(Told(exchange, at, price))

    def flush(self):
        """Move what is due one step on: to outbox and store, as far as they are there."""
        self.clock.advance(100)  # the collector looks ten times a second
        self._flushes += 10  # beyond any patience of the flusher
        self.rig.flush(now=self._flushes)

    def play(self, seed, turns, *, gap_ms):
        """Let random ticks arrive, some late, while store and outbox come and go."""
        random = Random(seed)
        late_ms = self.rig.rules.late_intervals * self.rig.rules.interval_ms
        for _ in range(turns):
            self.clock.advance(random.choice([gap_ms // 50, gap_ms // 3, gap_ms]))
            if random.random() < 0.02:
                self.clock.advance(20 * gap_ms)
            for name in random.sample(EXCHANGES, random.randint(0, 3)):
                age_ms = random.choice([0, 0, 0, random.randint(0, late_ms)])
                self.tell(name, random.choice([1.0, random.uniform(1, 2)]), self.now_ms - age_ms)
            if random.random() < 0.3:
                self.store.down = random.choice([None, None, "away"])
                self.outbox.down = random.choice([None, None, "full"])
                self.flush()
        self.store.down = self.outbox.down = None

    def candles_told(self, exchange, interval_ms):
        """Work out every candle from the ticks: by brute force, as `Candle[:6]`."""
        found = {}
        for tick in self.told:
            if exchange in (None, tick.exchange):
                found.setdefault(align(tick.timestamp_ms, interval_ms), []).append(tick)
        candles = []
        for open_ms, ticks in sorted(found.items()):
            first_ms = min(tick.timestamp_ms for tick in ticks)
            last_ms = max(tick.timestamp_ms for tick in ticks)
            first = min(tick.exchange for tick in ticks if tick.timestamp_ms == first_ms)
            last = min(tick.exchange for tick in ticks if tick.timestamp_ms == last_ms)
            prices = [tick.price for tick in ticks]
            opens = [t.price for t in ticks if (t.timestamp_ms, t.exchange) == (first_ms, first)]
            closes = [t.price for t in ticks if (t.timestamp_ms, t.exchange) == (last_ms, last)]
            # of ticks of one exchange and millisecond the first and the last received
            ends = opens[0], closes[-1]
            candles.append((open_ms, ends[0], max(prices), min(prices), ends[1], len(prices)))
        return candles

    def minutes_told(self, exchange=None):
        """Return (exchange, end) of every minute that has a tick and had its grace."""
        rules = self.rig.rules
        ends = {(tick.exchange, rules.end_of(tick.timestamp_ms)) for tick in self.told}
        return {
            (name, end)
            for name, end in ends
            if exchange in (None, name) and end + rules.grace_ms <= self.now_ms
        }
