"""Candles of any interval, made of minutes, the open one included."""

from dataclasses import dataclass
from typing import NamedTuple

from marketflow.application.minutes import Minutes, Reading
from marketflow.domain.candle import Candle, align, align_up, filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which candles: those that open in [from_ms, to_ms), without *from_ms* the last ones."""

    interval_ms: int
    from_ms: int | None = None
    to_ms: int | None = None
    limit: int = 500
    include_open: bool = True
    fill: bool = False  # intervals without a tick are flat, instead of left out


class CandleList(NamedTuple):
    """Candles of a pair in order; the first `closed` of them are finished."""

    symbol: str
    exchange: str | None
    candles: list[Candle]
    closed: int
    next_from_ms: int | None  # there are more, that open here and later
    is_final: bool  # asked again, the answer would be the same for ever


class Bars(NamedTuple):
    """Candles for a chart; of an empty answer, when the newest one before it opened."""

    candles: list[Candle]
    newest_before_ms: int | None


class Candles:
    """Makes candles; the one that is open shows every tick that was received.

    A question reads as many minutes as its candles have, however many there are besides.
    """

    def __init__(self, minutes: Minutes) -> None:
        self._minutes = minutes

    def ask(self, symbol: str, exchange: str | None, wanted: Wanted) -> CandleList:
        """Return the candles of one exchange, or of all of them merged.

        Raises:
            UnknownSymbol, UnknownExchange, Restoring, StorageUnavailable
        """
        minutes = self._minutes.open(symbol, exchange)
        _, symbol, exchange, _ = minutes.subject
        step_ms = wanted.interval_ms
        end_ms = _end_of(minutes, wanted.to_ms, step_ms, include_open=wanted.include_open)
        start_ms = None if wanted.from_ms is None else max(0, align_up(wanted.from_ms, step_ms))
        next_ms = None
        if wanted.fill:
            found, next_ms = _filled(minutes, start_ms, end_ms, wanted)
        elif start_ms is None:
            found = _last(minutes, 0, end_ms, step_ms, wanted.limit)
        else:
            # one more than asked for tells whether there is more
            found = _first(minutes, start_ms, end_ms, step_ms, wanted.limit + 1)
            if len(found) > wanted.limit:
                next_ms = found.pop().open_ms
        closed = sum(candle.open_ms + step_ms <= minutes.now_ms for candle in found)
        is_final = False
        if wanted.to_ms is not None:
            is_final = minutes.is_final(align_up(wanted.to_ms, step_ms))
        return CandleList(symbol, exchange, found, closed, next_ms, is_final)

    def bars(
        self,
        symbol: str,
        exchange: str | None,
        interval_ms: int,
        *,
        from_ms: int,
        to_ms: int,
        at_least: int,
        at_most: int,
    ) -> Bars:
        """Return the candles that open in [from_ms, to_ms), of too many the last *at_most*.

        Fewer than *at_least* are preceded by earlier ones, as far as there are any.

        Raises:
            UnknownSymbol, UnknownExchange, Restoring, StorageUnavailable
        """
        minutes = self._minutes.open(symbol, exchange)
        start_ms = max(0, align_up(from_ms, interval_ms))
        end_ms = _end_of(minutes, to_ms, interval_ms, include_open=True)
        found = _last(minutes, start_ms, end_ms, interval_ms, at_most)
        if len(found) < min(at_least, at_most):
            found = _last(minutes, 0, end_ms, interval_ms, min(at_least, at_most))
        if found:
            return Bars(found, None)
        newest = minutes.edge(0, min(start_ms, end_ms), newest=True)
        return Bars([], None if newest is None else align(newest.timestamp_ms - 1, interval_ms))


def _end_of(minutes: Reading, to_ms: int | None, step_ms: int, *, include_open: bool) -> int:
    """Return where candles end: at *to_ms*, or with the open candle, or before it."""
    end_ms = align(minutes.now_ms, step_ms) + (step_ms if include_open else 0)
    return end_ms if to_ms is None else min(end_ms, max(0, align_up(to_ms, step_ms)))


def _first(minutes: Reading, start_ms: int, end_ms: int, step_ms: int, limit: int) -> list[Candle]:
    """Read the first candles from *start_ms* on, leaping over times without any."""
    found: list[Candle] = []
    while len(found) < limit and (row := minutes.edge(start_ms, end_ms, newest=False)):
        open_ms = align(row.timestamp_ms - 1, step_ms)
        start_ms = min(end_ms, open_ms + (limit - len(found)) * step_ms)
        found += minutes.candles(open_ms, start_ms, step_ms)
    return found


def _last(minutes: Reading, start_ms: int, end_ms: int, step_ms: int, limit: int) -> list[Candle]:
    """Read the last candles before *end_ms*, leaping over times without any."""
    pieces: list[list[Candle]] = []
    missing = limit
    while missing > 0 and (row := minutes.edge(start_ms, end_ms, newest=True)):
        close_ms = align(row.timestamp_ms - 1, step_ms) + step_ms
        end_ms = max(start_ms, close_ms - missing * step_ms)
        pieces.append(minutes.candles(end_ms, close_ms, step_ms))
        missing -= len(pieces[-1])
    return [candle for piece in reversed(pieces) for candle in piece]


def _filled(
    minutes: Reading, start_ms: int | None, end_ms: int, wanted: Wanted
) -> tuple[list[Candle], int | None]:
    """Read at most *limit* intervals without a hole; say from when on there are more."""
    step_ms, length_ms = wanted.interval_ms, wanted.limit * wanted.interval_ms
    begin_ms = max(0, end_ms - length_ms) if start_ms is None else start_ms
    price = _price_before(minutes, begin_ms)
    if price is None:
        # nothing to be flat at until the first candle of all
        first = minutes.edge(begin_ms, end_ms, newest=False)
        begin_ms = end_ms if first is None else align(first.timestamp_ms - 1, step_ms)
    stop_ms = max(begin_ms, min(end_ms, begin_ms + length_ms))
    found = minutes.candles(begin_ms, stop_ms, step_ms)
    line = filled(found, from_ms=begin_ms, to_ms=stop_ms, interval_ms=step_ms, price=price)
    return line, stop_ms if stop_ms < end_ms else None


def _price_before(minutes: Reading, time_ms: int) -> float | None:
    """Return the last price of the last minute before *time_ms*, over all exchanges."""
    newest = minutes.edge(0, time_ms, newest=True)
    if newest is None:
        return None
    rows = minutes.rows(newest.timestamp_ms, newest.timestamp_ms + 1)
    last = min(rows or [newest], key=lambda row: (-row.close_at_ms, row.exchange))
    return last.close_price
