"""Price questions: from the window, or for longer periods from stored minutes."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from marketflow.application.ports import Clock, MinuteStore
from marketflow.application.state import Market, Newest, Pair, State
from marketflow.domain.errors import NoPrices, Restoring
from marketflow.domain.minute import MinuteKey, MinuteRow
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period
from marketflow.domain.window import Extreme, Mean

_FOREVER_MS = 1 << 50  # a tick may be ahead of our clock

MinuteReader = Callable[[Mode, str, str | None, int, int], list[MinuteRow]]


class LatestPrice(NamedTuple):
    """The newest tick of a pair."""

    symbol: str
    exchange: str
    price: float
    timestamp_ms: int
    age_ms: int
    stale: bool


class ExtremePrice(NamedTuple):
    """The highest or lowest price of a period, with where and when it was."""

    symbol: str
    exchange: str
    price: float
    timestamp_ms: int
    age_ms: int
    stale: bool
    from_ms: int
    to_ms: int
    ticks: int


class AveragePrice(NamedTuple):
    """The mean over the ticks of a period; `exchange` None is over all."""

    symbol: str
    exchange: str | None
    price: float
    from_ms: int
    to_ms: int
    ticks: int


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
        sign = 1 if highest else -1
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
        best_price = sign * max(sign * extreme.price for _, extreme in found)
        name, best = min(
            (item for item in found if item[1].price == best_price),
            key=lambda item: (-item[1].timestamp_ms, item[0]),
        )
        age_ms = max(0, now_ms - best.timestamp_ms)
        count = sum(extreme.ticks for _, extreme in found)
        return ExtremePrice(
            pair.symbol,
            name,
            best_price,
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
        count = sum(mean.ticks for mean in means)
        price = sum(mean.total for mean in means) / count
        # rounding alone may leave the range of what was averaged
        price = min(max(price, min(m.low for m in means)), max(m.high for m in means))
        return AveragePrice(pair.symbol, exchange, price, from_ms, now_ms, count)

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


def _highest_of(row: MinuteRow) -> Extreme:
    return Extreme(row.max_price, row.max_at_ms, row.tick_count)


def _lowest_of(row: MinuteRow) -> Extreme:
    return Extreme(row.min_price, row.min_at_ms, row.tick_count)


def _mean_of(row: MinuteRow) -> Mean:
    total = row.average_price * row.tick_count
    return Mean(row.tick_count, total, row.min_price, row.max_price)


def _series(symbol: str, exchange: str | None) -> str:
    return symbol if exchange is None else f"{symbol} on {exchange}"


def _nothing(symbol: str, exchange: str | None, period: Period) -> NoPrices:
    return NoPrices(f"no prices for {_series(symbol, exchange)} in the last {period.text}")
