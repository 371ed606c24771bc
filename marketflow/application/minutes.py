"""A pair's minutes, wherever they are: stored, or not stored yet, each once."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple

from marketflow.application.ports import WHOLE, Clock, MinuteStore, Page, Run
from marketflow.application.state import Market
from marketflow.domain.candle import Candle, align, candle_of, merged
from marketflow.domain.errors import Restoring
from marketflow.domain.minute import MinuteKey, MinuteRow, MinuteRules
from marketflow.domain.mode import Mode

UnstoredReader = Callable[[Mode, str, str | None, int, int], list[MinuteRow]]

_FOREVER_MS = 1 << 50  # a tick may be ahead of our clock
_PIECE_MS = 90 * 86_400_000  # so much at once, or a store's deadline might end a long question


class Subject(NamedTuple):
    """What is asked about, in canonical names; `exchange` None means all of `exchanges`."""

    mode: Mode
    symbol: str
    exchange: str | None
    exchanges: tuple[str, ...]


class Minutes:
    """Opens the minutes of a pair for one question."""

    def __init__(
        self,
        market: Market,
        *,
        clock: Clock,
        store: MinuteStore,
        unstored: Iterable[UnstoredReader],
        rules: MinuteRules,
    ) -> None:
        self._market = market
        self._clock = clock
        self._store = store
        self._unstored = tuple(unstored)  # memory and outbox: what the store may not have yet
        self._rules = rules

    def open(self, symbol: str, exchange: str | None) -> "Reading":
        """Look at a pair's minutes in the current mode, on *exchange* or, for None, on all.

        Raises:
            UnknownSymbol, UnknownExchange
            Restoring: what the journal holds is not back in memory.
            StorageUnavailable: the outbox cannot be read.
        """
        if self._market.restoring:
            raise Restoring("restoring the last minutes from the journal, they follow shortly")
        state = self._market.state
        symbol = state.catalog.symbol(symbol)
        names = state.catalog.exchanges
        if exchange is not None:
            exchange = state.catalog.exchange(exchange)
            names = (exchange,)
        now_ms = self._clock.now().wall_ms
        # read before the store: a row on its way from one to the other is seen at least once
        unstored = [
            row
            for reader in self._unstored
            for row in reader(state.mode, symbol, exchange, 0, _FOREVER_MS)
        ]
        subject = Subject(state.mode, symbol, exchange, names)
        return Reading(subject, now_ms, unstored, self._store, self._rules)


class Reading:
    """A pair's minutes as one question sees them; a minute's place in time is its end.

    Every method but `is_final` reads the store and raises `StorageUnavailable` when it is away.
    """

    def __init__(
        self,
        subject: Subject,
        now_ms: int,
        unstored: list[MinuteRow],
        store: MinuteStore,
        rules: MinuteRules,
    ) -> None:
        self.subject = subject
        self.now_ms = now_ms
        self.interval_ms = rules.interval_ms
        self.settled_ms = now_ms - rules.grace_ms  # minutes that ended by then have their rows
        self._unstored = unstored
        self._store = store
        self._rules = rules

    def is_final(self, end_ms: int) -> bool:
        """Whether no minute that ended by *end_ms* can change any more."""
        rules = self._rules
        late_ms = (rules.late_intervals + 1) * rules.interval_ms
        return end_ms + late_ms + rules.grace_ms <= self.now_ms

    def on(self, exchange: str) -> "Reading":
        """Return the same, of one exchange only."""
        subject = self.subject._replace(exchange=exchange, exchanges=(exchange,))
        unstored = [row for row in self._unstored if row.exchange == exchange]
        return Reading(subject, self.now_ms, unstored, self._store, self._rules)

    def rows(self, from_ms: int, to_ms: int, page: Page = WHOLE) -> list[MinuteRow]:
        """Return the rows whose end is in [from_ms, to_ms), by time, then exchange."""
        found = self._store.rows(*self.subject[:3], from_ms, to_ms, page)
        if unstored := self._not_stored(from_ms, to_ms):
            found = _joined(found, unstored)
            if page.after is not None:
                found = [row for row in found if _place(row) > (from_ms, page.after)]
        if page.limit is None:
            return found
        return found[-page.limit :] if page.newest else found[: page.limit]

    def edge(self, from_ms: int, to_ms: int, *, newest: bool) -> MinuteRow | None:
        """Return the first or the last row that lies in [from_ms, to_ms), its beginning too."""
        if from_ms >= to_ms:
            return None
        rows = self.rows(from_ms + 1, to_ms + 1, Page(1, newest=newest))
        return rows[0] if rows else None

    def candles(self, from_ms: int, to_ms: int, interval_ms: int) -> list[Candle]:
        """Return the candles that open in [from_ms, to_ms), both multiples of *interval_ms*."""
        # the store makes candles of its own rows: from the first other one on, it is done here
        ends_ms = (row.timestamp_ms for row in self._not_stored(from_ms + 1, to_ms + 1))
        split_ms = align(min(ends_ms, default=to_ms + 1) - 1, interval_ms)
        found: list[Candle] = []
        for start_ms in range(from_ms, split_ms, _PIECE_MS):
            end_ms = min(start_ms + _PIECE_MS, split_ms)
            found += self._store.candles(*self.subject[:3], start_ms, end_ms, interval_ms)
        if split_ms < to_ms:
            rows = self.rows(split_ms + 1, to_ms + 1)
            found += (candle_of(row, interval_ms) for row in rows)
        return merged(found)

    def runs(self, from_ms: int, to_ms: int) -> list[Run]:
        """Return runs of rows whose end is in [from_ms, to_ms), by time; they may overlap."""
        alone = [
            Run(row.exchange, row.timestamp_ms, row.timestamp_ms)
            for row in self._not_stored(from_ms, to_ms)
        ]
        runs = self._store.runs(*self.subject[:3], from_ms, to_ms, self.interval_ms)
        return sorted([*alone, *runs], key=lambda run: run.first_end_ms)

    def _not_stored(self, from_ms: int, to_ms: int) -> list[MinuteRow]:
        return [row for row in self._unstored if from_ms <= row.timestamp_ms < to_ms]


def _joined(stored: list[MinuteRow], unstored: list[MinuteRow]) -> list[MinuteRow]:
    """Return both, in order, of two versions of a minute the one with more ticks."""
    # the store's rows before the first other one, mostly nearly all, are in order already
    first_ms = min(row.timestamp_ms for row in unstored)
    cut = bisect_left(stored, first_ms, key=lambda row: row.timestamp_ms)
    rows: dict[MinuteKey, MinuteRow] = {}
    for row in (*unstored, *stored[cut:]):
        known = rows.get(row.key)
        if known is None or row.tick_count >= known.tick_count:
            rows[row.key] = row
    return stored[:cut] + sorted(rows.values(), key=_place)


def _place(row: MinuteRow) -> tuple[int, str]:
    return row.timestamp_ms, row.exchange
