"""The last minutes of one series: exact answers for any duration, at the same small cost."""

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from math import inf
from typing import NamedTuple

from marketflow.domain.edge import Edge
from marketflow.domain.stat import Rows

_SLACK_ROWS = 512  # fewer expired rows than this are not worth a move
_SLACK_SHARE = 16  # expired rows may take 1/16 of the memory
_EVERY = 64  # rows added, before it is looked which have expired
_WAITING = 16  # ticks that become rows together; to read them before takes 12 us, once
_MANY = 6  # rows that are added together: of fewer each for itself takes less time
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


class PriceWindow:
    """The ticks of one series within *span_ms*, one row per distinct millisecond.

    Keys (`at`, `since`) are monotonic milliseconds; `since` must lie within the span. The highest
    and the lowest come from suffix-extreme stacks, the mean from prefix sums; each answer costs a
    binary search, whatever the duration. Running sums are kept in two parts, together 77 bits:
    plain ones drift past 1e-9 in a month.

    Not locked: its pair's lock guards it, from questions too, which may have to make rows of ticks
    that wait for company.
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
        "_waiting",
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
        self._lows = Edge()
        self._highs = Edge()
        self._waiting: list[Latest] = []  # ticks that are not rows yet
        self.latest: Latest | None = None

    def __len__(self) -> int:
        """Return how many rows are kept; up to 1/16 of them have expired."""
        return len(self._ats) + len(self._waiting)

    def add(self, at: int, price: float, timestamp_ms: int) -> Latest:
        """Add a tick; return it as the newest.

        A series never goes backwards: an earlier *at* counts as the newest one so far.
        """
        latest = self.latest
        if latest is not None and at < latest.at_mono:
            at = latest.at_mono
        # of hundreds of pairs each touches a dozen arrays that are in no cache: 2.7 us at once, 1
        # when some ticks share the way
        self.latest = latest = _new(Latest, (at, price, timestamp_ms))
        self._waiting.append(latest)
        if len(self._waiting) == _WAITING:
            self._settle()
        return latest

    def extend(self, rows: Rows, offset: int, price: float, timestamp_ms: int) -> Latest:
        """Add *rows*, at least one, at times *offset* later; *price* is the newest, returned.

        Rows that are not after the newest so far count as part of it.
        """
        if self._waiting:
            self._settle()
        if len(rows.ats) == 1:  # 1.2 us less than by the way for many
            self._add_row(rows, 0, offset)
        else:
            self._add_rows(rows, offset)
        at = self._ats[-1] + self._origin
        self.latest = latest = _new(Latest, (at, price, timestamp_ms))
        return latest

    def extreme(self, since: int, *, highest: bool) -> Extreme | None:
        """Return the highest or lowest price at or after *since*; None without ticks."""
        if self._waiting:
            self._settle()
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
        if self._waiting:
            self._settle()
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
        if self._waiting:
            self._settle()
        i = self._first(since)
        return None if i == len(self._ats) else Opening(self._ats[i] + self._origin, self._opens[i])

    def _first(self, since: int) -> int:
        return bisect_left(self._ats, since - self._origin)

    def _settle(self) -> None:
        """Make rows of the ticks that wait, at least one."""
        ats, prices, times = map(list, zip(*self._waiting, strict=True))
        self._waiting.clear()
        ones = [1] * len(ats)
        rows = _new(Rows, (ats, ones, prices, prices, times, prices, times, prices))
        if len(set(ats)) == len(ats):
            self._add_rows(rows, 0)
        else:
            for i in range(len(ats)):
                self._add_row(rows, i, 0)

    def _add_rows(self, rows: Rows, offset: int) -> None:
        """Add *rows*, those that are not after the newest to that."""
        newest = self._ats[-1] + self._origin - offset if self._ats else -inf
        count, alone = len(rows.ats), bisect_right(rows.ats, newest)
        if count - alone < _MANY:
            alone = count
        for i in range(alone):
            self._add_row(rows, i, offset)
        if not alone:
            self._append(rows, offset)
        elif alone < count:
            self._append(Rows._make([column[alone:] for column in rows]), offset)

    def _add_row(self, rows: Rows, i: int, offset: int) -> None:
        """Add row *i*, to the newest unless it is after that."""
        ats, counts, sums, carries = self._ats, self._counts, self._sums, self._carries
        row_ats, ticks, totals, lows, lows_ms, highs, highs_ms, opens = rows
        at = row_ats[i] + offset
        count, total, carry = (counts[-1], sums[-1], carries[-1]) if ats else self._base
        count = (count + ticks[i]) % _WRAP
        both = total + (amount := totals[i])
        # the rounding error of the sum above, exactly; then the parts made disjoint again
        carry += (total - both) + amount if total >= amount else (amount - both) + total
        total = both + carry
        carry -= total - both
        if ats and at - self._origin <= ats[-1]:
            at = ats[-1] + self._origin
            counts[-1], sums[-1], carries[-1] = count, total, carry
        else:
            if not ats or at - self._origin >= _WRAP:
                self._move_origin(at)
            self._ats.append(at - self._origin)
            counts.append(count)
            sums.append(total)
            carries.append(carry)
            self._opens.append(opens[i])
            if not len(counts) % _EVERY:
                self._forget_expired(at)
        self._lows.push(at, lows[i], lows_ms[i])
        self._highs.push(at, -highs[i], highs_ms[i])

    def _append(self, rows: Rows, offset: int) -> None:
        """Add *rows*, all after the newest; one by one they take twice as long."""
        ats = [at + offset for at in rows.ats]
        if not self._ats or ats[-1] - self._origin >= _WRAP:
            self._move_origin(ats[0])
        kept, origin = len(self._ats), self._origin
        counts, sums, carries = self._run(rows)
        self._ats.fromlist([at - origin for at in ats])
        self._counts.fromlist(counts)
        self._sums.fromlist(sums)
        self._carries.fromlist(carries)
        self._opens.fromlist(rows.opens)
        self._lows.extend(ats, rows.lows, rows.lows_ms)
        self._highs.extend(ats, [-high for high in rows.highs], rows.highs_ms)
        if kept // _EVERY < len(self._ats) // _EVERY:
            self._forget_expired(ats[-1])

    def _run(self, rows: Rows) -> tuple[list[int], list[float], list[float]]:
        """Return the running count, sum and carry after each of *rows*, which come next."""
        if self._ats:
            count, total, carry = self._counts[-1], self._sums[-1], self._carries[-1]
        else:
            count, total, carry = self._base
        counts = list(accumulate(rows.ticks, initial=count))[1:]
        if counts[-1] >= _WRAP:
            counts = [count % _WRAP for count in counts]
        sums, carries = [], []
        for amount in rows.totals:
            both = total + amount
            carry += (total - both) + amount if total >= amount else (amount - both) + total
            total = both + carry
            carry -= total - both
            sums.append(total)
            carries.append(carry)
        return counts, sums, carries

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
