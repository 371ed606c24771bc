"""Quotes made up in this process: what an exchange answers over HTTP, without the wire."""

from collections.abc import Callable
from threading import Event

from fakeexchange.quotes import quote
from marketflow.adapters.exchange.generated import number_of
from marketflow.application.asset_ports import Answer
from marketflow.application.ports import Clock
from marketflow.domain.asset import Quote
from marketflow.domain.errors import NotAsked


class GeneratedQuotes:
    """A `QuoteSource` that needs nothing else, lists every asset, and tells at once.

    All exchanges quote around the same walk of an asset, whatever their seeds.
    """

    def __init__(self, exchange: str, *, clock: Clock, seed: int) -> None:
        self.exchange = exchange
        self._number = number_of(exchange)
        self._clock = clock
        self._seed = seed
        self._closed = Event()

    def ask(self, asset: str, deadline: float, tell: Callable[[Answer], None]) -> None:  # noqa: ARG002  it never waits
        tell(
            NotAsked(f"{self.exchange} is closed") if self._closed.is_set() else self._quote(asset)
        )

    def close(self) -> None:
        self._closed.set()

    def _quote(self, asset: str) -> Quote:
        now_ms = self._clock.now().wall_ms
        made = quote(self._number, asset, now_ms / 1000.0, self._seed)
        return Quote(self.exchange, made.price, made.volume, now_ms)
