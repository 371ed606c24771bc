"""What some ticks of one series amount to, and how two such summaries become one."""

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from marketflow.domain.tick import Ticks

_new = tuple.__new__  # a named tuple's own constructor takes five times as long


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
            return cls.of_one(timestamps[0], prices[0])
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
        return _new(
            cls,
            (
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
            ),
        )

    @classmethod
    def of_one(cls, at_ms: int, price: float) -> "PriceStat":
        """Sum up a single tick."""
        return _new(cls, (1, price, 0.0, price, at_ms, price, at_ms, price, at_ms, price, at_ms))

    @classmethod
    def of_burst(cls, at_ms: int, prices: Sequence[float]) -> "PriceStat":
        """Sum up *prices*, at least one, all of one time."""
        low, high, first, last = min(prices), max(prices), prices[0], prices[-1]
        return _new(
            cls,
            (len(prices), fsum(prices), 0.0, low, at_ms, high, at_ms, first, at_ms, last, at_ms),
        )

    def merge(self, later: "PriceStat") -> "PriceStat":
        """Join with *later*, received after this one; of equal prices the later time is kept."""
        # unpacked, and without the constructor: .5 us instead of 1.3, once a tick of quiet pairs
        ticks, total, carry, low, low_ms, high, high_ms, opened, open_ms, closed, close_ms = self
        count, amount, rest, least, least_ms, most, most_ms, first, first_ms, last, last_ms = later
        both = total + amount
        # the rounding error of the sum above, exactly: Neumaier 1974
        if abs(total) >= abs(amount):
            error = (total - both) + amount
        else:
            error = (amount - both) + total
        if least < low or (least == low and least_ms > low_ms):
            low, low_ms = least, least_ms
        if most > high or (most == high and most_ms > high_ms):
            high, high_ms = most, most_ms
        if first_ms < open_ms:
            opened, open_ms = first, first_ms
        if last_ms >= close_ms:
            closed, close_ms = last, last_ms
        ticks, carry = ticks + count, carry + rest + error
        return _new(
            PriceStat,
            (ticks, both, carry, low, low_ms, high, high_ms, opened, open_ms, closed, close_ms),
        )


class Rows(NamedTuple):
    """What the ticks of each of some milliseconds amount to, as columns of equal length.

    Columns because one object for each row would take as long as all that is done with it.
    """

    ats: list[int]  # growing
    ticks: list[int]
    totals: list[float]
    lows: list[float]
    lows_ms: list[int]
    highs: list[float]
    highs_ms: list[int]
    opens: list[float]


def _is_ordered(values: Sequence[int]) -> bool:
    return sorted(values) == list(values)


def _last_index(values: Sequence[float], value: float) -> int:
    return len(values) - 1 - values[::-1].index(value)
