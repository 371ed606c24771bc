"""What has changed since subscribers were last told: conflated, numbered, in order."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from marketflow.application.answers import LatestPrice
from marketflow.application.ports import Clock
from marketflow.application.state import Market, State
from marketflow.application.telemetry import Telemetry
from marketflow.domain.minute import MinuteKey, MinuteRow
from marketflow.domain.mode import Mode
from marketflow.domain.window import Latest, PriceWindow

_HELD = 1024  # minutes kept for subscribers that come back
_MINUTES_AT_ONCE = 256  # after an outage thousands of rows are stored within a second


class Quote(NamedTuple):
    """The newest tick of one series."""

    symbol: str
    exchange: str
    latest: Latest


class FeedState(NamedTuple):
    """How one exchange's feed is."""

    exchange: str
    connected: bool
    stale: bool
    reconnects: int


class ModeChange(NamedTuple):
    """The mode that prices are of from here on, and the one before."""

    mode: Mode
    previous: Mode


class Snapshot(NamedTuple):
    """Everything there is to tell at one moment."""

    mode: Mode
    quotes: list[Quote]
    feeds: list[FeedState]


class Event(NamedTuple):
    """One thing to tell; numbers grow. Without exchange or symbol it concerns every one."""

    number: int
    what: Quote | MinuteRow | FeedState | ModeChange | Snapshot
    exchange: str | None = None
    symbol: str | None = None


class _Series:
    """One window, and what of it was noted last."""

    __slots__ = ("exchange", "latest", "symbol", "window")

    def __init__(self, symbol: str, exchange: str, window: PriceWindow) -> None:
        self.symbol = symbol
        self.exchange = exchange
        self.window = window
        self.latest = window.latest


class Broadcaster:
    """Compares the market with what it was, when asked: nothing is added to the way of a tick.

    One thread asks; `stored` may be called by any.
    """

    def __init__(
        self, market: Market, telemetry: Telemetry, *, clock: Clock, stale_after_ms: int
    ) -> None:
        self.number = 0  # of the newest event
        self._market = market
        self._telemetry = telemetry
        self._clock = clock
        self._stale_after_ms = stale_after_ms
        self._look(market.state)
        self._quotes: dict[_Series, Event] = {}  # to be told, the newest of each series
        self._others: list[Event] = []  # to be told
        self._stored: deque[MinuteRow] = deque(maxlen=_HELD)
        self._held: dict[MinuteKey, tuple[int, MinuteRow]] = {}  # with its number, in order

    def stored(self, rows: Iterable[MinuteRow]) -> None:
        """Have *rows* told, which the store has acknowledged; of more than it holds, the newest."""
        self._stored.extend(rows)

    def note(self) -> None:
        """Number what has changed until now; what a series does later replaces it."""
        state = self._market.state
        if state is not self._state:
            self._note_mode(state)
        for series in self._series:
            latest = series.window.latest
            # a window makes a new object for whatever is newest
            if latest is not None and latest is not series.latest:
                series.latest = latest
                quote = Quote(series.symbol, series.exchange, latest)
                self._quotes[series] = self._event(quote, series.exchange, series.symbol)
        for feed in self._feed_states(state):
            if feed != self._feeds[feed.exchange]:
                self._feeds[feed.exchange] = feed
                self._others.append(self._event(feed, feed.exchange))

    def catch_up(self) -> None:
        """Number everything until now, minutes too: whoever comes next is told what is newer."""
        self.note()
        while self._stored:
            self._note_minutes()

    def take(self) -> list[Event]:
        """Hand out what is to be told now, in order."""
        self.note()
        self._note_minutes()
        events = sorted([*self._quotes.values(), *self._others])
        self._quotes.clear()
        self._others.clear()
        return events

    def snapshot(self) -> Snapshot:
        """Return everything, as it was noted last."""
        quotes = [
            Quote(series.symbol, series.exchange, series.latest)
            for series in self._series
            if series.latest is not None
        ]
        return Snapshot(self._state.mode, quotes, list(self._feeds.values()))

    def minutes_after(self, number: int) -> list[Event]:
        """Return the current mode's minutes that are still held and were told after *number*."""
        return [
            Event(told, row, row.exchange, row.pair_name)
            for told, row in self._held.values()
            if told > number and self._is_current(row)
        ]

    def price(self, quote: Quote) -> LatestPrice:
        """Return *quote* as a question for it would be answered now."""
        at_mono, price, timestamp_ms = quote.latest
        age_ms = max(0, self._clock.now().mono_ms - at_mono)
        stale = age_ms > self._stale_after_ms
        return LatestPrice(quote.symbol, quote.exchange, price, timestamp_ms, age_ms, stale)

    def _look(self, state: State) -> None:
        self._state = state
        self._series = [
            _Series(pair.symbol, exchange, window)
            for pair in state.pairs.values()
            for exchange, window in pair.windows.items()
        ]
        self._feeds = {feed.exchange: feed for feed in self._feed_states(state)}

    def _note_mode(self, state: State) -> None:
        previous = self._state.mode
        self._look(state)
        self._quotes.clear()  # of the mode that ended
        self._others.append(self._event(ModeChange(state.mode, previous)))
        self._others.append(self._event(self.snapshot()))

    def _note_minutes(self) -> None:
        for _ in range(min(len(self._stored), _MINUTES_AT_ONCE)):
            row = self._stored.popleft()
            _, known = self._held.get(row.key, (0, None))
            if known is not None and known.tick_count >= row.tick_count:
                continue  # stored once more, after a fault
            event = self._event(row, row.exchange, row.pair_name)
            self._held.pop(row.key, None)
            self._held[row.key] = event.number, row
            if len(self._held) > _HELD:
                del self._held[next(iter(self._held))]
            if self._is_current(row):
                self._others.append(event)

    def _event(
        self,
        what: Quote | MinuteRow | FeedState | ModeChange | Snapshot,
        exchange: str | None = None,
        symbol: str | None = None,
    ) -> Event:
        self.number += 1
        return Event(self.number, what, exchange, symbol)

    def _feed_states(self, state: State) -> Iterator[FeedState]:
        now_mono = self._clock.now().mono_ms
        for feed in self._telemetry.feeds_of(state.mode):
            last = feed.last_tick_mono
            stale = last is None or now_mono - last > self._stale_after_ms
            yield FeedState(feed.exchange, feed.connected, stale, feed.reconnects)

    def _is_current(self, row: MinuteRow) -> bool:
        return row.mode == self._state.mode
