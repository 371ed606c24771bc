"""What some ticks of one series amount to, and how two such summaries become one."""

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from marketflow.domain.tick import Ticks


class PriceStat(NamedTuple):
    """Count, sum, extremes and ends of some ticks; times in milliseconds since the epoch, UTC.

    The sum is `total + carry`: `carry` is what rounding took from `total` (Neumaier's
    compensation), so that a minute merged from thousands of chunks still has its true mean.
    """

    ticks: int
    total: float
    carry: float
    low: float
    low_ms: int
    high: float
    high_ms: int
    open: float
    open_ms: int
    close: float
    close_ms: int

    @property
    def average(self) -> float:
        """The mean over ticks, kept within [low, high]: rounding alone would leave it."""
        return min(max((self.total + self.carry) / self.ticks, self.low), self.high)

    @classmethod
    def of(cls, ticks: Ticks) -> "PriceStat":
        """Sum up *ticks*, at least one, in the order they were received."""
        timestamps, prices = ticks
        if len(prices) == 1:
            price, at = prices[0], timestamps[0]
            return cls(1, price, 0.0, price, at, price, at, price, at, price, at)
        low, high = min(prices), max(prices)
        if _is_ordered(timestamps):
            first, last = 0, len(prices) - 1
            low_ms = timestamps[_last_index(prices, low)]
            high_ms = timestamps[_last_index(prices, high)]
        else:
            first = timestamps.index(min(timestamps))
            last = _last_index(timestamps, max(timestamps))
            pairs = list(zip(timestamps, prices, strict=True))
            low_ms = max(at for at, price in pairs if price == low)
            high_ms = max(at for at, price in pairs if price == high)
        return cls(
            len(prices),
            fsum(prices),
            0.0,
            low,
            low_ms,
            high,
            high_ms,
            prices[first],
            timestamps[first],
            prices[last],
            timestamps[last],
        )

    def merge(self, later: "PriceStat") -> "PriceStat":
        """Join with *later*, received after this one; of equal prices the later time is kept."""
        total = self.total + later.total
        # the rounding error of the sum above, exactly: Neumaier 1974
        if abs(self.total) >= abs(later.total):
            error = (self.total - total) + later.total
        else:
            error = (later.total - total) + self.total
        low, low_ms = self.low, self.low_ms
        if later.low < low or (later.low == low and later.low_ms > low_ms):
            low, low_ms = later.low, later.low_ms
        high, high_ms = self.high, self.high_ms
        if later.high > high or (later.high == high and later.high_ms > high_ms):
            high, high_ms = later.high, later.high_ms
        opens = later if later.open_ms < self.open_ms else self
        closes = self if self.close_ms > later.close_ms else later
        return PriceStat(
            self.ticks + later.ticks,
            total,
            self.carry + later.carry + error,
            low,
            low_ms,
            high,
            high_ms,
            opens.open,
            opens.open_ms,
            closes.close,
            closes.close_ms,
        )


def _is_ordered(values: Sequence[int]) -> bool:
    return sorted(values) == list(values)


def _last_index(values: Sequence[float], value: float) -> int:
    return len(values) - 1 - values[::-1].index(value)
