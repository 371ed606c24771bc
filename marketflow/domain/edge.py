"""A monotonic stack: what the lowest price is from any moment on."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from math import inf


class Edge:
    """A monotonic stack: the extremes of every suffix of the series, oldest first.

    The first entry at or after an edge is the extreme of everything after that edge. Prices are
    kept negated for the highest, so that one comparison serves both.
    """

    __slots__ = ("ats", "prices", "timestamps")

    def __init__(self) -> None:
        self.ats = array("q")
        self.prices = array("d")
        self.timestamps = array("q")

    def push(self, at: int, price: float, timestamp_ms: int) -> None:
        ats, prices, timestamps = self.ats, self.prices, self.timestamps
        size = place = len(prices)
        while place and prices[place - 1] >= price:
            place -= 1
        if place == size:
            ats.append(at)
            prices.append(price)
            timestamps.append(timestamp_ms)
            return
        # prices grow towards the top: only the last one passed can be the same
        if prices[place] == price and ats[place] == at:
            timestamp_ms = max(timestamp_ms, timestamps[place])
        ats[place], prices[place], timestamps[place] = at, price, timestamp_ms
        place += 1
        if place < size:
            del ats[place:], prices[place:], timestamps[place:]

    def extend(
        self, ats: Sequence[int], prices: Sequence[float], timestamps: Sequence[int]
    ) -> None:
        # as pushing one after the other, for growing times above all others: a sixth of the time
        best, kept = inf, []
        for i in range(len(prices) - 1, -1, -1):
            if prices[i] < best:
                best = prices[i]
                kept.append(i)
        place = len(self.prices)
        while place and self.prices[place - 1] >= best:
            place -= 1
        if place < len(self.prices):
            del self.ats[place:], self.prices[place:], self.timestamps[place:]
        for i in reversed(kept):
            self.ats.append(ats[i])
            self.prices.append(prices[i])
            self.timestamps.append(timestamps[i])

    def first(self, since: int) -> int:
        return bisect_left(self.ats, since)

    def forget(self, before: int) -> None:
        gone = self.first(before)
        del self.ats[:gone], self.prices[:gone], self.timestamps[:gone]
