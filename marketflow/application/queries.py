"""Price questions: from the window, or for longer periods from stored minutes."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from marketflow.application.answers import (
    AveragePrice,
    ExtremePrice,
    LatestPrice,
    PriceStats,
)
from marketflow.application.ports import Clock, MinuteStore
from marketflow.application.state import Market, Newest, Pair, State
from marketflow.domain.errors import NoPrices, Restoring
from marketflow.domain.minute import MinuteKey, MinuteRow
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period
from marketflow.domain.window import Extreme, Mean, PriceWindow

_FOREVER_MS = 1 << 50  # a tick may be ahead of our clock

MinuteReader = Callable[[Mode, str, str | None, int, int], list[MinuteRow]]


class _Span(NamedTuple):
    """What one series, or one of its minutes, adds to the statistics of a period."""

    exchange: str
    open_at: int
    open: float
    close_at: int
    close: float
    mean: Mean


class Prices:
    """Answers for the current mode. What reads the store (`reads_store`) may block."""

    def __init__(
        self,
        market: Market,
        *,
        clock: Clock,
        store: MinuteStore,
        unstored: Iterable[MinuteReader],
        interval_ms: int,
        stale_after_ms: int,
    ) -> None:
        self._market = market
        self._clock = clock
        self._store = store
        self._unstored = tuple(unstored)  # memory and outbox: what the store may not have yet
        self._interval_ms = interval_ms
        self._stale_after_ms = stale_after_ms

    def reads_store(self, period: Period) -> bool:
        """Whether *period* is longer than the window."""
        return period.ms > self._market.state.span_ms

    def latest(self, symbol: str, exchange: str | None = None) -> LatestPrice:
        """Return the newest price of a pair.

        Raises:
            UnknownSymbol, UnknownExchange, NoPrices, Restoring
        """
        state = self._state()
        pair = state.pairs[state.catalog.symbol(symbol)]
        if exchange is None:
            newest = pair.newest
        else:
            exchange = state.catalog.exchange(exchange)
            latest = pair.windows[exchange].latest
            newest = None if latest is None else Newest(exchange, latest)
        if newest is None:
            raise NoPrices(f"no prices for {_series(pair.symbol, exchange)} yet")
        name, (at_mono, price, timestamp_ms) = newest
        age_ms = max(0, self._clock.now().mono_ms - at_mono)
        stale = age_ms > self._stale_after_ms
        return LatestPrice(pair.symbol, name, price, timestamp_ms, age_ms, stale)

    def extreme(
        self, symbol: str, exchange: str | None, period: Period, *, highest: bool
    ) -> ExtremePrice:
        """Return the highest or lowest price of *period*.

        Raises:
            UnknownSymbol, UnknownExchange, NoPrices, Restoring
            StorageUnavailable: a period longer than the window, and the store is away.
        """
        state = self._state()
        pair, exchange, names = _resolve(state, symbol, exchange)
        if period.ms > state.span_ms:
            rows, from_ms, now_ms = self._minutes(state, pair.symbol, exchange, period)
            side = _highest_of if highest else _lowest_of
            found = [(row.exchange, side(row)) for row in rows]
        else:
            with pair.lock:
                now = self._clock.now()
                since = now.mono_ms - period.ms
                found = [
                    (name, extreme)
                    for name in names
                    if (extreme := pair.windows[name].extreme(since, highest=highest))
                ]
            from_ms, now_ms = now.wall_ms - period.ms, now.wall_ms
        if not found:
            raise _nothing(pair.symbol, exchange, period)
        name, best, count = _best(found, highest=highest)
        age_ms = max(0, now_ms - best.timestamp_ms)
        return ExtremePrice(
            pair.symbol,
            name,
            best.price,
            best.timestamp_ms,
            age_ms,
            age_ms > self._stale_after_ms,
            from_ms,
            now_ms,
            count,
        )

    def average(self, symbol: str, exchange: str | None, period: Period) -> AveragePrice:
        """Return the mean over the ticks of *period*; raises what `extreme` raises."""
        state = self._state()
        pair, exchange, names = _resolve(state, symbol, exchange)
        if period.ms > state.span_ms:
            rows, from_ms, now_ms = self._minutes(state, pair.symbol, exchange, period)
            means = [_mean_of(row) for row in rows]
        else:
            with pair.lock:
                now = self._clock.now()
                since = now.mono_ms - period.ms
                means = [
                    mean for name in names if (mean := pair.windows[name].mean(since)) is not None
                ]
            from_ms, now_ms = now.wall_ms - period.ms, now.wall_ms
        if not means:
            raise _nothing(pair.symbol, exchange, period)
        total = _merged(means)
        return AveragePrice(pair.symbol, exchange, _average(total), from_ms, now_ms, total.ticks)

    def everything(self, symbols: Iterable[str] = (), exchange: str = "") -> list[LatestPrice]:
        """Return the newest price of each pair on each exchange that has one.

        No *symbols*: of all of them; no *exchange*: on all of them.

        Raises:
            UnknownSymbol, UnknownExchange, Restoring
        """
        state = self._state()
        catalog = state.catalog
        pairs = [catalog.symbol(symbol) for symbol in symbols] or catalog.symbols
        exchanges = (catalog.exchange(exchange),) if exchange else catalog.exchanges
        return [
            self.latest(symbol, name)
            for symbol in dict.fromkeys(pairs)
            for name in exchanges
            if state.pairs[symbol].windows[name].latest
        ]

    def stats(self, symbol: str, exchange: str | None, period: Period) -> PriceStats:
        """Return the statistics of *period*; raises what `extreme` raises."""
        state = self._state()
        pair, exchange, names = _resolve(state, symbol, exchange)
        if period.ms > state.span_ms:
            rows, from_ms, now_ms = self._minutes(state, pair.symbol, exchange, period)
            spans = [_span_of_row(row) for row in rows]
        else:
            with pair.lock:
                now = self._clock.now()
                since = now.mono_ms - period.ms
                found = [_span_of_window(name, pair.windows[name], since) for name in names]
            spans = [span for span in found if span]
            from_ms, now_ms = now.wall_ms - period.ms, now.wall_ms
        if not spans:
            raise _nothing(pair.symbol, exchange, period)
        first = min(spans, key=lambda span: (span.open_at, span.exchange))
        last = min(spans, key=lambda span: (-span.close_at, span.exchange))
        total = _merged([span.mean for span in spans])
        return PriceStats(
            pair.symbol,
            exchange,
            first.open,
            total.high,
            total.low,
            last.close,
            _average(total),
            from_ms,
            now_ms,
            total.ticks,
        )

    def _state(self) -> State:
        if self._market.restoring:
            raise Restoring("restoring the last minutes from the journal, prices follow shortly")
        return self._market.state

    def _minutes(
        self, state: State, symbol: str, exchange: str | None, period: Period
    ) -> tuple[list[MinuteRow], int, int]:
        """Read whole minutes: what is stored, and what is not stored yet, never both."""
        now_ms = self._clock.now().wall_ms
        from_ms = -(-(now_ms - period.ms) // self._interval_ms) * self._interval_ms
        first_end_ms = from_ms + self._interval_ms
        rows: dict[MinuteKey, MinuteRow] = {}
        # memory before store: a row on its way from one to the other is seen at least once
        for reader in (*self._unstored, self._store.rows):
            for row in reader(state.mode, symbol, exchange, first_end_ms, _FOREVER_MS):
                known = rows.get(row.key)
                if known is None or row.tick_count > known.tick_count:
                    rows[row.key] = row
        return list(rows.values()), from_ms, now_ms


def _resolve(
    state: State, symbol: str, exchange: str | None
) -> tuple[Pair, str | None, tuple[str, ...]]:
    pair = state.pairs[state.catalog.symbol(symbol)]
    if exchange is None:
        return pair, None, state.catalog.exchanges
    name = state.catalog.exchange(exchange)
    return pair, name, (name,)


def _best(found: Sequence[tuple[str, Extreme]], *, highest: bool) -> tuple[str, Extreme, int]:
    """Return the extreme of all, whose it is, and how many ticks there are.

    Of equal prices the latest is it, of equally late ones the one whose exchange's name is first.
    """
    (name, best), *others = found
    count = best.ticks
    for other, extreme in others:
        count += extreme.ticks
        if extreme.price == best.price:
            better = (-extreme.timestamp_ms, other) < (-best.timestamp_ms, name)
        else:
            better = (extreme.price > best.price) == highest
        if better:
            name, best = other, extreme
    return name, best, count


def _highest_of(row: MinuteRow) -> Extreme:
    return Extreme(row.max_price, row.max_at_ms, row.tick_count)


def _lowest_of(row: MinuteRow) -> Extreme:
    return Extreme(row.min_price, row.min_at_ms, row.tick_count)


def _mean_of(row: MinuteRow) -> Mean:
    total = row.average_price * row.tick_count
    return Mean(row.tick_count, total, row.min_price, row.max_price)


def _merged(means: Sequence[Mean]) -> Mean:
    return Mean(
        sum(mean.ticks for mean in means),
        sum(mean.total for mean in means),
        min(mean.low for mean in means),
        max(mean.high for mean in means),
    )


def _average(mean: Mean) -> float:
    # rounding alone may leave the range of what was averaged
    return min(max(mean.total / mean.ticks, mean.low), mean.high)


def _span_of_row(row: MinuteRow) -> _Span:
    return _Span(
        row.exchange,
        row.open_at_ms,
        row.open_price,
        row.close_at_ms,
        row.close_price,
        _mean_of(row),
    )


def _span_of_window(name: str, window: PriceWindow, since: int) -> _Span | None:
    opening, mean, latest = window.opening(since), window.mean(since), window.latest
    if not (opening and mean and latest):
        return None
    return _Span(name, opening.at_mono, opening.price, latest.at_mono, latest.price, mean)


def _series(symbol: str, exchange: str | None) -> str:
    return symbol if exchange is None else f"{symbol} on {exchange}"


def _nothing(symbol: str, exchange: str | None, period: Period) -> NoPrices:
    return NoPrices(f"no prices for {_series(symbol, exchange)} in the last {period.text}")
