"""Minutes: ticks bucketed by the exchange's own timestamp, one row per series and minute."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat


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


class MinuteBook:
    """The open and the recent minutes of every series, and which of them must be written.

    Not locked: its owner is the collector.
    """

    def __init__(self, rules: MinuteRules) -> None:
        self.rules = rules
        self._stats: dict[MinuteKey, PriceStat] = {}
        self._touched: set[MinuteKey] = set()
        self._first_end_ms: int | None = None  # of those touched

    def __len__(self) -> int:
        return len(self._stats)

    def add(self, key: MinuteKey, stat: PriceStat) -> None:
        """Add *stat*, received after all that *key* already holds."""
        known = self._stats.get(key)
        self._stats[key] = stat if known is None else known.merge(stat)
        self._touched.add(key)
        if self._first_end_ms is None or key.end_ms < self._first_end_ms:
            self._first_end_ms = key.end_ms

    def due(self, now_ms: int) -> list[MinuteRow]:
        """Hand out the rows touched since they were last handed out and over by *now_ms*."""
        limit_ms = now_ms - self.rules.grace_ms
        if self._first_end_ms is None or self._first_end_ms > limit_ms:
            return []
        return self._hand_out([key for key in self._touched if key.end_ms <= limit_ms])

    def touched(self) -> list[MinuteRow]:
        """Hand out every row touched since it was last handed out, open minutes included."""
        return self._hand_out(list(self._touched))

    def next_due_ms(self) -> int | None:
        """Say when `due` has something to hand out next."""
        return None if self._first_end_ms is None else self._first_end_ms + self.rules.grace_ms

    def discard(self, watermark_ms: int) -> None:
        """Forget written minutes that no tick received from *watermark_ms* on can touch."""
        gone = [
            key
            for key in self._stats
            if key not in self._touched and self.rules.is_late(key.end_ms, watermark_ms)
        ]
        for key in gone:
            del self._stats[key]

    def rows(
        self, mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
    ) -> Iterator[MinuteRow]:
        """Yield the rows whose end is in [from_ms, to_ms); *exchange* None means all."""
        for key, stat in self._stats.items():
            if (
                key.symbol == symbol
                and key.mode == mode
                and (exchange is None or key.exchange == exchange)
                and from_ms <= key.end_ms < to_ms
            ):
                yield row_of(key, stat)

    def _hand_out(self, keys: list[MinuteKey]) -> list[MinuteRow]:
        self._touched.difference_update(keys)
        self._first_end_ms = min((key.end_ms for key in self._touched), default=None)
        keys.sort(key=lambda key: (key.end_ms, key))
        return [row_of(key, self._stats[key]) for key in keys]
