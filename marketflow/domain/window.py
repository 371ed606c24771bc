"""The last minutes of one series: exact answers for any duration, at the same small cost."""

from array import array
from bisect import bisect_left
from typing import NamedTuple

from marketflow.domain.stat import PriceStat

_SLACK_ROWS = 512  # fewer expired rows than this are not worth a move
_SLACK_SHARE = 16  # expired rows may take 1/16 of the memory
_EVERY = 64  # rows added, before it is looked which have expired
_WRAP = 1 << 32  # running counts and row keys are kept in 32 bits

_new = tuple.__new__  # a named tuple's own constructor takes twice as long


class Latest(NamedTuple):
    """The newest tick of a series: the last one received."""

    at_mono: int
    price: float
    timestamp_ms: int


class Extreme(NamedTuple):
    """The highest or lowest price of a span, when it was, and how many ticks the span holds."""

    price: float
    timestamp_ms: int
    ticks: int


class Opening(NamedTuple):
    """The first price of a span."""

    at_mono: int
    price: float


class Mean(NamedTuple):
    """What the mean of a span is made of, ready to be merged with another series' span."""

    ticks: int
    total: float
    low: float
    high: float


class _Edge:
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

    def first(self, since: int) -> int:
        return bisect_left(self.ats, since)

    def forget(self, before: int) -> None:
        gone = self.first(before)
        del self.ats[:gone], self.prices[:gone], self.timestamps[:gone]


class PriceWindow:
    """The ticks of one series within *span_ms*, one row per distinct millisecond.

    Keys (`at`, `since`) are monotonic milliseconds; `since` must lie within the span. The highest
    and the lowest come from suffix-extreme stacks, the mean from prefix sums; each answer costs a
    binary search, whatever the duration. Running sums are kept in two parts, together 77 bits:
    plain ones drift past 1e-9 in a month.

    Not locked: its pair's lock guards it.
    """

    __slots__ = (
        "_ats",
        "_base",
        "_carries",
        "_counts",
        "_highs",
        "_lows",
        "_opens",
        "_origin",
        "_span_ms",
        "_sums",
        "latest",
    )

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._origin = 0  # keys are stored relative to it: four bytes a row instead of eight
        self._ats = array("I")
        self._counts = array("I")  # running count, this row included, modulo 2**32
        self._sums = array("d")  # running sum, this row included
        self._carries = array("f")  # what the running sum lost by rounding
        self._opens = array("d")
        self._base = (0, 0.0, 0.0)  # running count, sum and carry before the first row kept
        self._lows = _Edge()
        self._highs = _Edge()
        self.latest: Latest | None = None

    def __len__(self) -> int:
        """Return how many rows are kept; up to 1/16 of them have expired."""
        return len(self._ats)

    def add(self, at: int, stat: PriceStat, price: float, timestamp_ms: int) -> None:
        """Add the ticks of one millisecond; *price* is the last received, with its timestamp.

        A series never goes backwards: an earlier *at* counts as the newest one so far.
        """
        latest, ats = self.latest, self._ats
        ticks, amount, rest, low, low_ms, high, high_ms, opening, *_ = stat
        count, total, carry = (
            (self._counts[-1], self._sums[-1], self._carries[-1]) if ats else self._base
        )
        # an error-free sum of two floats (Knuth), then the parts made disjoint again
        both = total + amount
        part = both - total
        carry += (total - (both - part)) + (amount - part) + rest
        count, total = (count + ticks) % _WRAP, both + carry
        carry -= total - both
        if latest is not None and at <= latest.at_mono:
            at = latest.at_mono
            self._counts[-1], self._sums[-1], self._carries[-1] = count, total, carry
        else:
            if at - self._origin >= _WRAP or latest is None:
                self._move_origin(at)
            self._ats.append(at - self._origin)
            self._counts.append(count)
            self._sums.append(total)
            self._carries.append(carry)
            self._opens.append(opening)
            if not len(self._ats) % _EVERY:
                self._forget_expired(at)
        self._lows.push(at, low, low_ms)
        self._highs.push(at, -high, high_ms)
        self.latest = _new(Latest, (at, price, timestamp_ms))

    def extreme(self, since: int, *, highest: bool) -> Extreme | None:
        """Return the highest or lowest price at or after *since*; None without ticks."""
        i = self._first(since)
        if i == len(self._ats):
            return None
        edge = self._highs if highest else self._lows
        j = edge.first(since)
        price = edge.prices[j]
        count = self._counts[-1] - (self._counts[i - 1] if i else self._base[0])
        return Extreme(-price if highest else price, edge.timestamps[j], count % _WRAP)

    def mean(self, since: int) -> Mean | None:
        """Return count, total and extremes of the prices at or after *since*; None without."""
        i = self._first(since)
        if i == len(self._ats):
            return None
        if i:
            before = self._counts[i - 1], self._sums[i - 1], self._carries[i - 1]
        else:
            before = self._base
        count = (self._counts[-1] - before[0]) % _WRAP
        total = (self._sums[-1] - before[1]) + (self._carries[-1] - before[2])
        low = self._lows.prices[self._lows.first(since)]
        high = -self._highs.prices[self._highs.first(since)]
        return Mean(count, min(max(total, low * count), high * count), low, high)

    def opening(self, since: int) -> Opening | None:
        """Return the first price at or after *since*; None without ticks."""
        i = self._first(since)
        return None if i == len(self._ats) else Opening(self._ats[i] + self._origin, self._opens[i])

    def _first(self, since: int) -> int:
        return bisect_left(self._ats, since - self._origin)

    def _forget_expired(self, at: int) -> None:
        slack = max(_SLACK_ROWS, len(self._ats) // _SLACK_SHARE)
        if slack < len(self._ats) and self._ats[slack] < at - self._span_ms - self._origin:
            self._forget(at - self._span_ms)

    def _forget(self, before: int) -> None:
        gone = self._first(before)
        if gone:
            last = gone - 1
            self._base = self._counts[last], self._sums[last], self._carries[last]
        for column in (self._ats, self._counts, self._sums, self._carries, self._opens):
            del column[:gone]
        self._lows.forget(before)
        self._highs.forget(before)

    def _move_origin(self, at: int) -> None:
        """Make room for *at* in the row keys: once at the first tick, then every 49 days."""
        self._forget(at - self._span_ms)
        shift = at - self._span_ms - self._origin
        self._ats = array("I", (key - shift for key in self._ats))
        self._origin += shift
