"""What the service answers from: one object per mode, replaced whole when the mode changes."""

import threading
from collections.abc import Iterable
from typing import NamedTuple

from marketflow.domain.catalog import Catalog
from marketflow.domain.mode import Mode
from marketflow.domain.window import Latest, PriceWindow

_new = tuple.__new__  # a named tuple's own constructor takes twice as long


class Newest(NamedTuple):
    """The newest tick of a pair over its exchanges."""

    exchange: str
    latest: Latest


class Pair:
    """One pair's windows, by exchange, under one lock.

    The collector takes the lock once per (batch, pair), a question once, so that an answer over
    all exchanges is of one moment.
    """

    __slots__ = ("lock", "newest", "symbol", "windows")

    def __init__(self, symbol: str, exchanges: Iterable[str], span_ms: int) -> None:
        self.symbol = symbol
        self.lock = threading.Lock()
        self.windows = {exchange: PriceWindow(span_ms) for exchange in exchanges}
        self.newest: Newest | None = None

    def note(self, exchange: str, latest: Latest) -> None:
        """Take *latest* for the newest tick unless there is a newer one; the caller has locked."""
        newest = self.newest
        if newest is None or latest.at_mono >= newest.latest.at_mono:
            self.newest = _new(Newest, (exchange, latest))


class State:
    """Mode, names and windows of one intake."""

    def __init__(self, mode: Mode, intake: int, catalog: Catalog, span_ms: int) -> None:
        self.mode = mode
        self.intake = intake
        self.catalog = catalog
        self.span_ms = span_ms
        self.pairs = {
            symbol: Pair(symbol, catalog.exchanges, span_ms) for symbol in catalog.symbols
        }


class Market:
    """Holds the current `State`; the collector alone replaces it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.restoring = False  # prices must wait: the journal is being replayed
        self.restored_mono: int | None = None  # when that ended
