"""The brute-force oracle: every tick that was sent, and answers by scanning them all."""

from bisect import bisect_left
from math import fsum
from typing import NamedTuple

from marketflow.domain.minute import MinuteKey


class Sent(NamedTuple):
    """A tick as it was sent, when its chunk was received, and its place in its window."""

    price: float
    timestamp_ms: int
    received_ms: int
    at: int


class Ledger:
    """Knows the documented clamp, the windows and the minutes; shares no code with the service."""

    def __init__(self, *, interval_ms=60_000, late_intervals=3):
        self.interval_ms = interval_ms
        self.late_intervals = late_intervals
        self.late = 0
        self.minutes = {}  # MinuteKey -> [Sent] in the order received
        self.series = {}  # (exchange, symbol) -> [Sent] in the order received

    def add(self, mode, exchange, symbol, price, timestamp_ms, *, received_ms, received_mono):
        end_ms = (timestamp_ms // self.interval_ms + 1) * self.interval_ms
        if received_ms > end_ms + self.late_intervals * self.interval_ms:
            self.late += 1
            return
        series = self.series.setdefault((exchange, symbol), [])
        at = received_mono - max(0, received_ms - timestamp_ms)
        if series:
            at = max(at, series[-1].at)
        sent = Sent(price, timestamp_ms, received_ms, at)
        series.append(sent)
        self.minutes.setdefault(MinuteKey(mode, exchange, symbol, end_ms), []).append(sent)

    def window(self, symbol, exchange, since_mono):
        """Return the (exchange, tick) pairs at or after *since_mono*."""
        found = []
        for (name, pair), series in self.series.items():
            if pair == symbol and exchange in (None, name):
                first = bisect_left(series, since_mono, key=lambda sent: sent.at)
                found += [(name, sent) for sent in series[first:]]
        return found

    def extreme(self, symbol, exchange, since_mono, *, highest):
        """Return (price, timestamp, exchange, count); of equal prices the latest, then by name."""
        found = self.window(symbol, exchange, since_mono)
        if not found:
            return None
        price = (max if highest else min)(sent.price for _, sent in found)
        latest = {}  # exchange -> the latest of its equals, by place, then by its own time
        for name, sent in found:
            if sent.price == price:
                latest[name] = max(latest.get(name, (0, 0)), (sent.at, sent.timestamp_ms))
        name = min(latest, key=lambda name: (-latest[name][1], name))
        return price, latest[name][1], name, len(found)

    def average(self, symbol, exchange, since_mono):
        """Return (mean, count)."""
        prices = [sent.price for _, sent in self.window(symbol, exchange, since_mono)]
        return (fsum(prices) / len(prices), len(prices)) if prices else None

    def latest(self, symbol, exchange):
        """Return every (exchange, price, timestamp) that may call itself the newest."""
        ends = {
            name: series[-1]
            for (name, pair), series in self.series.items()
            if pair == symbol and exchange in (None, name)
        }
        newest = max((sent.at for sent in ends.values()), default=None)
        return {(n, s.price, s.timestamp_ms) for n, s in ends.items() if s.at == newest}


def check_rows(rows, minutes):
    """Assert that *rows* are exactly the ledger's *minutes*: none missing, doubled, invented."""
    keys = [row.key for row in rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(minutes)
    for row in rows:
        check_row(row, minutes[row.key])


def check_row(row, ticks):
    """Assert that *row* is what *ticks* amount to: bit-equal, but for the mean's 1e-9."""
    prices = [sent.price for sent in ticks]
    low, high, mean = min(prices), max(prices), fsum(prices) / len(prices)
    first_ms = min(sent.timestamp_ms for sent in ticks)
    last_ms = max(sent.timestamp_ms for sent in ticks)
    assert (row.tick_count, row.min_price, row.max_price) == (len(ticks), low, high)
    assert abs(row.average_price - mean) <= 1e-9 * mean
    assert low <= row.average_price <= high
    opens = next(sent.price for sent in ticks if sent.timestamp_ms == first_ms)
    closes = next(sent.price for sent in reversed(ticks) if sent.timestamp_ms == last_ms)
    assert (row.open_price, row.open_at_ms) == (opens, first_ms)
    assert (row.close_price, row.close_at_ms) == (closes, last_ms)
    assert row.min_at_ms == max(sent.timestamp_ms for sent in ticks if sent.price == low)
    assert row.max_at_ms == max(sent.timestamp_ms for sent in ticks if sent.price == high)
