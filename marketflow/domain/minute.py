"""Minutes: ticks bucketed by the exchange's own timestamp, one row per series and minute."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from typing import NamedTuple

from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import Ticks, Turn

_WAITING = 32  # turns that are summed up together

_new = tuple.__new__  # a named tuple's own constructor takes five times as long


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """A row of the table `market_data`; times in milliseconds since the epoch, UTC."""

    pair_name: str
    exchange: str
    timestamp_ms: int  # the end of the minute; the minute is [end - interval, end)
    average_price: float
    min_price: float
    max_price: float
    open_price: float
    close_price: float
    open_at_ms: int
    close_at_ms: int
    min_at_ms: int
    max_at_ms: int
    tick_count: int
    mode: Mode

    @property
    def key(self) -> "MinuteKey":
        """What identifies the row in every store."""
        return MinuteKey(self.mode, self.exchange, self.pair_name, self.timestamp_ms)


class MinuteKey(NamedTuple):
    """One minute of one series in one mode."""

    mode: Mode
    exchange: str
    symbol: str
    end_ms: int


def row_of(key: MinuteKey, stat: PriceStat) -> MinuteRow:
    """Write *stat* as the row of *key*."""
    return MinuteRow(
        pair_name=key.symbol,
        exchange=key.exchange,
        timestamp_ms=key.end_ms,
        average_price=stat.average,
        min_price=stat.low,
        max_price=stat.high,
        open_price=stat.open,
        close_price=stat.close,
        open_at_ms=stat.open_ms,
        close_at_ms=stat.close_ms,
        min_at_ms=stat.low_ms,
        max_at_ms=stat.high_ms,
        tick_count=stat.ticks,
        mode=key.mode,
    )


@dataclass(frozen=True, slots=True)
class MinuteRules:
    """When a minute ends, when its row is due, and how late a tick may be; milliseconds."""

    interval_ms: int = 60_000
    grace_ms: int = 2_000
    late_intervals: int = 3

    def end_of(self, timestamp_ms: int) -> int:
        """Return the end of the minute that holds *timestamp_ms*; a boundary starts a new one."""
        return timestamp_ms - timestamp_ms % self.interval_ms + self.interval_ms

    def is_late(self, end_ms: int, received_ms: int) -> bool:
        """Whether a tick received then comes too late for the minute that ended at *end_ms*."""
        return end_ms + self.late_intervals * self.interval_ms < received_ms


class _Minute:
    """One minute of one exchange's pairs."""

    __slots__ = ("stats", "touched", "waiting")

    def __init__(self) -> None:
        self.stats: dict[str, PriceStat] = {}
        self.touched: set[str] = set()  # since they were last handed out
        self.waiting: list[tuple[Sequence[str], Sequence[int], Sequence[float]]] = []

    @property
    def is_touched(self) -> bool:
        return bool(self.touched or self.waiting)

    def add(self, symbol: str, stat: PriceStat) -> None:
        known = self.stats.get(symbol)
        self.stats[symbol] = stat if known is None else known.merge(stat)

    def settle(self) -> None:
        # of the same pairs again and again, each pair's ticks are summed up at once
        waiting, self.waiting = self.waiting, []
        for symbols, group in groupby(waiting, key=lambda turn: turn[0]):
            _, *columns = zip(*group, strict=True)
            times, prices = (zip(*column, strict=True) for column in columns)
            for symbol, *ticks in zip(symbols, times, prices, strict=True):
                self.add(symbol, PriceStat.of(_new(Ticks, ticks)))
            self.touched.update(symbols)


class MinuteBook:
    """The open and the recent minutes of every series, and which of them must be written.

    Not locked: its owner is the collector.
    """

    def __init__(self, rules: MinuteRules) -> None:
        self.rules = rules
        self._minutes: dict[tuple[Mode, str, int], _Minute] = {}  # by mode, exchange and end
        self._first_end_ms: int | None = None  # of those touched

    def __len__(self) -> int:
        """Return how many minutes of single series are held."""
        for minute in self._minutes.values():
            minute.settle()
        return sum(len(minute.stats) for minute in self._minutes.values())

    def add(self, mode: Mode, exchange: str, end_ms: int, stats: Mapping[str, PriceStat]) -> None:
        """Add *stats* of pairs, received after all that their minute already holds."""
        minute = self._touch(mode, exchange, end_ms)
        if minute.waiting:
            minute.settle()
        for symbol, stat in stats.items():
            minute.add(symbol, stat)
        minute.touched.update(stats)

    def add_turn(self, mode: Mode, exchange: str, end_ms: int, turn: Turn) -> None:
        """Add a tick of each of some pairs, all of the minute that ends at *end_ms*."""
        minute = self._touch(mode, exchange, end_ms)
        # .2 us a tick when there are enough, 2.5 one by one
        minute.waiting.append(turn[:3])
        if len(minute.waiting) == _WAITING:
            minute.settle()

    def due(self, now_ms: int) -> list[MinuteRow]:
        """Hand out the rows touched since they were last handed out and over by *now_ms*."""
        limit_ms = now_ms - self.rules.grace_ms
        if self._first_end_ms is None or self._first_end_ms > limit_ms:
            return []
        return self._hand_out(limit_ms)

    def touched(self) -> list[MinuteRow]:
        """Hand out every row touched since it was last handed out, open minutes included."""
        return self._hand_out(inf)

    def next_due_ms(self) -> int | None:
        """Say when `due` has something to hand out next."""
        return None if self._first_end_ms is None else self._first_end_ms + self.rules.grace_ms

    def discard(self, watermark_ms: int) -> None:
        """Forget written minutes that no tick received from *watermark_ms* on can touch."""
        gone = [
            origin
            for origin, minute in self._minutes.items()
            if not minute.is_touched and self.rules.is_late(origin[-1], watermark_ms)
        ]
        for origin in gone:
            del self._minutes[origin]

    def rows(
        self, mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
    ) -> Iterator[MinuteRow]:
        """Yield the rows whose end is in [from_ms, to_ms); *exchange* None means all."""
        for (its_mode, its_exchange, end_ms), minute in self._minutes.items():
            if its_mode == mode and exchange in (None, its_exchange) and from_ms <= end_ms < to_ms:
                minute.settle()
                if stat := minute.stats.get(symbol):
                    yield row_of(MinuteKey(mode, its_exchange, symbol, end_ms), stat)

    def _touch(self, mode: Mode, exchange: str, end_ms: int) -> _Minute:
        minute = self._minutes.get((mode, exchange, end_ms))
        if minute is None:
            minute = self._minutes[mode, exchange, end_ms] = _Minute()
        if self._first_end_ms is None or end_ms < self._first_end_ms:
            self._first_end_ms = end_ms
        return minute

    def _hand_out(self, limit_ms: float) -> list[MinuteRow]:
        rows: list[MinuteRow] = []
        for (mode, exchange, end_ms), minute in self._minutes.items():
            if end_ms <= limit_ms:
                minute.settle()
                for symbol in minute.touched:
                    key = MinuteKey(mode, exchange, symbol, end_ms)
                    rows.append(row_of(key, minute.stats[symbol]))
                minute.touched.clear()
        ends_ms = (end_ms for (*_, end_ms), minute in self._minutes.items() if minute.is_touched)
        self._first_end_ms = min(ends_ms, default=None)
        rows.sort(key=lambda row: (row.timestamp_ms, row.key))
        return rows
