"""Folding: a chunk's ticks, pair by pair, as rows for windows and sums for minutes."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import fsum
from typing import Any, NamedTuple

from marketflow.domain.minute import MinuteRules
from marketflow.domain.stat import PriceStat, Rows
from marketflow.domain.tick import Ticks, TickText

_new = tuple.__new__  # a named tuple's own constructor takes twice as long


class Part(NamedTuple):
    """What a chunk held of one pair: rows for its window, and every tick."""

    ticks: int
    rows: Rows  # never after the chunk was received
    price: float  # the last received, and its time
    timestamp_ms: int
    every: TickText | Ticks  # text where the exchange's own can be passed on: that is half as big


class _Times:
    """What the timestamps of some ticks, at least one, say about their place in the chunk."""

    def __init__(self, timestamps: Sequence[int], received_ms: int, rules: MinuteRules) -> None:
        ordered = sorted(timestamps)
        self.timestamps = timestamps
        self.end_ms = rules.end_of(ordered[0])  # of the first minute
        self.is_late = rules.is_late(self.end_ms, received_ms)  # some of it, or all
        self.is_one_minute = ordered[-1] < self.end_ms
        self.in_order = ordered == timestamps and ordered[-1] <= received_ms
        # where each millisecond's ticks begin and end, and when that is; if they are in order
        self.bursts: list[tuple[int, int]] = []
        self.ats: list[int] = []
        start = 0
        while self.in_order and start < len(ordered):  # a flood has hundreds in each
            end = bisect_right(ordered, ordered[start], start)
            self.bursts.append((start, end))
            self.ats.append(ordered[start])
            start = end


class Folder:
    """Folds the ticks of a chunk, pair after pair.

    Pairs that are sent in turn share their times: those are looked through once.
    """

    def __init__(self, received_ms: int, rules: MinuteRules) -> None:
        self.parts: dict[str, Part] = {}
        self.minutes: dict[int, dict[str, PriceStat]] = {}  # by minute end, then pair
        self.late = 0  # ticks that came too late
        self.behind_ms = 0  # by how much they were behind, if there are any: below 0
        self._received_ms = received_ms
        self._rules = rules
        self._times: _Times | None = None

    def add(self, symbol: str, ticks: Ticks, text: TickText | None) -> None:
        """Fold *ticks*, at least one; those that came too late are only counted."""
        timestamps, prices = ticks
        times = self._times
        if times is None or times.timestamps != timestamps:
            times = self._times = _Times(timestamps, self._received_ms, self._rules)
        if times.is_late:
            kept = self._on_time(ticks)
            self.late += len(prices) - len(kept.prices)
            self.behind_ms = self.behind_ms or min(timestamps) - self._received_ms
            if kept.prices:
                self.add(symbol, kept, None)
            return
        if times.in_order:
            rows = _rows_in_order(times, prices)
        else:
            rows = _rows(ticks, self._received_ms)
        values = (len(prices), rows, prices[-1], timestamps[-1], text or ticks)
        self.parts[symbol] = _new(Part, values)
        if not times.is_one_minute:
            for end_ms, stat in _minutes(ticks, self._rules):
                self.minutes.setdefault(end_ms, {})[symbol] = stat
        else:
            stat = _sum_of(rows, ticks) if times.in_order else PriceStat.of(ticks)
            self.minutes.setdefault(times.end_ms, {})[symbol] = stat

    def _on_time(self, ticks: Ticks) -> Ticks:
        rules = self._rules
        kept = [
            tick
            for tick in zip(*ticks, strict=True)
            if not rules.is_late(rules.end_of(tick[0]), self._received_ms)
        ]
        return Ticks([at for at, _ in kept], [price for _, price in kept])


def _rows_in_order(times: _Times, prices: Sequence[float]) -> Rows:
    # as `_rows`, for times that never decrease nor exceed the chunk's: a third of the time
    bursts = [prices[start:end] for start, end in times.bursts]
    lows, highs, totals = list(map(min, bursts)), list(map(max, bursts)), list(map(fsum, bursts))
    ats, ticks, opens = times.ats, list(map(len, bursts)), [burst[0] for burst in bursts]
    return _new(Rows, (ats, ticks, totals, lows, ats, highs, ats, opens))


def _rows(ticks: Ticks, received_ms: int) -> Rows:
    # says what is meant, also of ticks in order
    timestamps, prices = ticks
    rows = Rows([], [], [], [], [], [], [], [])
    start, current = 0, min(timestamps[0], received_ms)
    for i, timestamp in enumerate(timestamps):
        at = min(timestamp, received_ms)
        if at > current:
            _add_row(rows, current, Ticks(timestamps[start:i], prices[start:i]))
            start, current = i, at
    _add_row(rows, current, Ticks(timestamps[start:], prices[start:]))
    return rows


def _add_row(rows: Rows, at_ms: int, ticks: Ticks) -> None:
    stat = PriceStat.of(ticks)
    columns: tuple[list[Any], ...] = rows
    values = (at_ms, stat.ticks, stat.total, stat.low, stat.low_ms, stat.high, stat.high_ms)
    for column, value in zip(columns, (*values, ticks.prices[0]), strict=True):
        column.append(value)


def _sum_of(rows: Rows, ticks: Ticks) -> PriceStat:
    # as `PriceStat.of` the ticks, whose times never decrease: a fifth of the time
    timestamps, prices = ticks
    low, high = min(rows.lows), max(rows.highs)
    last = len(rows.ats) - 1
    low_ms = rows.lows_ms[last - rows.lows[::-1].index(low)]
    high_ms = rows.highs_ms[last - rows.highs[::-1].index(high)]
    total, at, last_at = fsum(rows.totals), timestamps[0], timestamps[-1]
    return _new(
        PriceStat,
        (len(prices), total, 0.0, low, low_ms, high, high_ms, prices[0], at, prices[-1], last_at),
    )


def _minutes(ticks: Ticks, rules: MinuteRules) -> Iterator[tuple[int, PriceStat]]:
    timestamps, prices = ticks
    order = sorted(range(len(prices)), key=lambda i: rules.end_of(timestamps[i]))
    for end_ms, group in groupby(order, key=lambda i: rules.end_of(timestamps[i])):
        chosen = list(group)
        yield (
            end_ms,
            PriceStat.of(Ticks([timestamps[i] for i in chosen], [prices[i] for i in chosen])),
        )
