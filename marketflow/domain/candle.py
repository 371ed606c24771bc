"""Candles: what was traded in each interval of UTC, made of minutes."""

from collections.abc import Iterable
from typing import NamedTuple

from marketflow.domain.minute import MinuteRow

INTERVALS_MS = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}


class Candle(NamedTuple):
    """One interval: first, highest, lowest and last price; when and where the ends were."""

    open_ms: int  # the interval is [open_ms, open_ms + its length)
    open: float
    high: float
    low: float
    close: float
    ticks: int
    open_at_ms: int
    open_on: str
    close_at_ms: int
    close_on: str

    def merge(self, other: "Candle") -> "Candle":
        """Join with *other*, of the same interval; equal times are told apart by exchange name."""
        opens, closes = self, self
        if (other.open_at_ms, other.open_on) < (self.open_at_ms, self.open_on):
            opens = other
        if (-other.close_at_ms, other.close_on) < (-self.close_at_ms, self.close_on):
            closes = other
        return Candle(
            self.open_ms,
            opens.open,
            max(self.high, other.high),
            min(self.low, other.low),
            closes.close,
            self.ticks + other.ticks,
            opens.open_at_ms,
            opens.open_on,
            closes.close_at_ms,
            closes.close_on,
        )


def align(time_ms: int, interval_ms: int) -> int:
    """Return the beginning of the interval that holds *time_ms*."""
    return time_ms - time_ms % interval_ms


def align_up(time_ms: int, interval_ms: int) -> int:
    """Return the first beginning of an interval that is not before *time_ms*."""
    return -(-time_ms // interval_ms) * interval_ms


def candle_of(row: MinuteRow, interval_ms: int) -> Candle:
    """Return the candle that *row* alone makes; no minute is in two intervals."""
    return Candle(
        align(row.timestamp_ms - 1, interval_ms),  # the row's time is its minute's end
        row.open_price,
        row.max_price,
        row.min_price,
        row.close_price,
        row.tick_count,
        row.open_at_ms,
        row.exchange,
        row.close_at_ms,
        row.exchange,
    )


def merged(candles: Iterable[Candle]) -> list[Candle]:
    """Return one candle for each interval that has any, in order of time."""
    found: dict[int, Candle] = {}
    for candle in candles:
        known = found.get(candle.open_ms)
        found[candle.open_ms] = candle if known is None else known.merge(candle)
    return [found[open_ms] for open_ms in sorted(found)]


def filled(
    candles: Iterable[Candle], *, from_ms: int, to_ms: int, interval_ms: int, price: float | None
) -> list[Candle]:
    """Return a candle for every interval in [from_ms, to_ms), flat where there is none.

    Flat at the price before it: *price* until the first of *candles*; intervals before any price
    are left out.
    """
    found = {candle.open_ms: candle for candle in candles}
    line = []
    for open_ms in range(from_ms, to_ms, interval_ms):
        candle = found.get(open_ms)
        if candle is None:
            if price is None:
                continue
            candle = Candle(open_ms, price, price, price, price, 0, open_ms, "", open_ms, "")
        price = candle.close
        line.append(candle)
    return line
