"""Price questions: from the window, or for longer periods from stored minutes."""

from collections.abc import Callable, Iterable, Sequence

from marketflow.application.answers import (
    AveragePrice,
    ExtremePrice,
    LatestPrice,
    PriceStats,
)
from marketflow.application.ports import Clock, MinuteStore
from marketflow.application.state import Market, Pair, State
from marketflow.domain.errors import NoPrices, Restoring
from marketflow.domain.merged import ends_of, extreme_of, mean_of
from marketflow.domain.minute import MinuteKey, MinuteRow
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period
from marketflow.domain.window import Latest, PriceWindow

_FOREVER_MS = 1 << 50  # a tick may be ahead of our clock
_new = tuple.__new__  # a named tuple's own constructor takes twice as long

MinuteReader = Callable[[Mode, str, str | None, int, int], list[MinuteRow]]


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
        # a canonical name needs no folding
        pair = state.pairs.get(symbol) or state.pairs[state.catalog.symbol(symbol)]
        newest: tuple[str, Latest] | None
        if exchange is None:
            newest = pair.newest
        else:
            exchange = state.catalog.exchange(exchange)
            latest = pair.windows[exchange].latest
            newest = None if latest is None else (exchange, latest)
        if newest is None:
            raise NoPrices(f"no prices for {_series(pair.symbol, exchange)} yet")
        name, (at_mono, price, timestamp_ms) = newest
        age_ms = max(0, self._clock.now().mono_ms - at_mono)
        stale = age_ms > self._stale_after_ms
        return _new(LatestPrice, (pair.symbol, name, price, timestamp_ms, age_ms, stale))

    def extreme(
        self, symbol: str, exchange: str | None, period: Period, *, highest: bool
    ) -> ExtremePrice:
        """Return the highest or lowest price of *period*.

        Raises:
            UnknownSymbol, UnknownExchange, NoPrices, Restoring
            StorageUnavailable: a period longer than the window, and the store is away.
        """
        state = self._state()
        pair, exchange, windows = _resolve(state, symbol, exchange)
        if period.ms > state.span_ms:
            rows, from_ms, now_ms = self._minutes(state, pair.symbol, exchange, period)
            found = _extreme_of_rows(rows, highest=highest)
        else:
            with pair.lock:
                mono_ms, now_ms = self._clock.now()
                found = extreme_of(windows.items(), mono_ms - period.ms, highest=highest)
            from_ms = now_ms - period.ms
        if found is None:
            raise _nothing(pair.symbol, exchange, period)
        name, price, at_ms, ticks = found
        age_ms = max(0, now_ms - at_ms)
        stale = age_ms > self._stale_after_ms
        return _new(
            ExtremePrice,
            (pair.symbol, name, price, at_ms, age_ms, stale, from_ms, now_ms, ticks),
        )

    def average(self, symbol: str, exchange: str | None, period: Period) -> AveragePrice:
        """Return the mean over the ticks of *period*; raises what `extreme` raises."""
        state = self._state()
        pair, exchange, windows = _resolve(state, symbol, exchange)
        if period.ms > state.span_ms:
            rows, from_ms, now_ms = self._minutes(state, pair.symbol, exchange, period)
            found = _mean_of_rows(rows)
        else:
            with pair.lock:
                mono_ms, now_ms = self._clock.now()
                found = mean_of(windows.values(), mono_ms - period.ms)
            from_ms = now_ms - period.ms
        if found is None:
            raise _nothing(pair.symbol, exchange, period)
        mean, ticks, _, _ = found
        return _new(AveragePrice, (pair.symbol, exchange, mean, from_ms, now_ms, ticks))

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
        pair, exchange, windows = _resolve(state, symbol, exchange)
        if period.ms > state.span_ms:
            rows, from_ms, now_ms = self._minutes(state, pair.symbol, exchange, period)
            found, ends = _mean_of_rows(rows), _ends_of_rows(rows)
        else:
            with pair.lock:
                mono_ms, now_ms = self._clock.now()
                since = mono_ms - period.ms
                found, ends = mean_of(windows.values(), since), ends_of(windows.items(), since)
            from_ms = now_ms - period.ms
        if found is None or ends is None:
            raise _nothing(pair.symbol, exchange, period)
        mean, ticks, low, high = found
        first, last = ends
        return _new(
            PriceStats,
            (pair.symbol, exchange, first, high, low, last, mean, from_ms, now_ms, ticks),
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
) -> tuple[Pair, str | None, dict[str, PriceWindow]]:
    pair = state.pairs.get(symbol) or state.pairs[state.catalog.symbol(symbol)]
    if exchange is None:
        return pair, None, pair.windows
    name = state.catalog.exchange(exchange)
    return pair, name, {name: pair.windows[name]}


def _extreme_of_rows(
    rows: Sequence[MinuteRow], *, highest: bool
) -> tuple[str, float, int, int] | None:
    """Return what `extreme_of` would of the windows that these minutes once were."""
    if not rows:
        return None
    if highest:
        found = [(-row.max_price, -row.max_at_ms, row.exchange) for row in rows]
    else:
        found = [(row.min_price, -row.min_at_ms, row.exchange) for row in rows]
    price, at_ms, exchange = min(found)
    return exchange, -price if highest else price, -at_ms, sum(row.tick_count for row in rows)


def _mean_of_rows(rows: Sequence[MinuteRow]) -> tuple[float, int, float, float] | None:
    if not rows:
        return None
    ticks = sum(row.tick_count for row in rows)
    total = sum(row.average_price * row.tick_count for row in rows)
    low, high = min(row.min_price for row in rows), max(row.max_price for row in rows)
    # rounding alone may leave the range of what was averaged
    return min(max(total / ticks, low), high), ticks, low, high


def _ends_of_rows(rows: Sequence[MinuteRow]) -> tuple[float, float] | None:
    if not rows:
        return None
    first = min(rows, key=lambda row: (row.open_at_ms, row.exchange))
    last = min(rows, key=lambda row: (-row.close_at_ms, row.exchange))
    return first.open_price, last.close_price


def _series(symbol: str, exchange: str | None) -> str:
    return symbol if exchange is None else f"{symbol} on {exchange}"


def _nothing(symbol: str, exchange: str | None, period: Period) -> NoPrices:
    return NoPrices(f"no prices for {_series(symbol, exchange)} in the last {period.text}")
