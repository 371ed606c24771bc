"""The ports of the aggregated asset prices: what they need from the world."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from marketflow.domain.asset import AssetPrice, HistoryItem, Quote
from marketflow.domain.errors import NotAsked, NotListed, QuoteFailed
from marketflow.domain.mode import Mode

Answer = Quote | NotListed | QuoteFailed | NotAsked


class QuoteSource(Protocol):
    """One exchange that is asked for quotes, and does not send them by itself."""

    exchange: str

    def ask(self, asset: str, deadline: float, tell: Callable[[Answer], None]) -> None:
        """Ask for a quote of *asset* (lower case), and return without waiting for the answer.

        *tell* is called exactly once, from any thread, perhaps before this returns, and at the
        latest a moment after *deadline* (monotonic seconds). It must be quick and not raise.
        """
        ...

    def close(self) -> None:
        """Close every connection; what was asked is told `NotAsked`, now and from now on."""
        ...


class CachedPrice(NamedTuple):
    """A price in the shared cache, and for how much longer."""

    price: AssetPrice
    ttl_ms: int


class AssetCache(Protocol):
    """Prices shared with other programs, each for a limited time; used by several threads."""

    def put(self, mode: Mode, prices: Sequence[CachedPrice]) -> None:
        """Store *prices*, replacing older ones of the same assets.

        Raises:
            CacheUnavailable: nothing can be said about which were stored; store again.
        """
        ...

    def get(self, mode: Mode, asset: str) -> CachedPrice | None:
        """Return the price of *asset*, None if there is none.

        Raises:
            CacheUnavailable: it cannot be read now; whether there is one is not known.
        """
        ...

    def everything(self, mode: Mode, assets: Sequence[str]) -> list[CachedPrice]:
        """Return what there is of *assets*.

        Raises:
            CacheUnavailable: it cannot be read now.
        """
        ...

    def ping(self) -> None:
        """Check that the cache can be written.

        Raises:
            CacheUnavailable: it cannot, with the reason.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class AssetHistory(Protocol):
    """Prices kept for good: one per asset and second, the one updated last."""

    backend: str

    def append(self, mode: Mode, items: Sequence[HistoryItem]) -> None:
        """Write *items*, durably on return; written twice is harmless.

        Of two with the same asset and second the one with the newer `updated_s` stays, of equally
        new ones the later written.

        Raises:
            StorageUnavailable: nothing can be said about which were written; write again.
        """
        ...

    def newest(
        self, mode: Mode, asset: str, from_s: int, to_s: int, limit: int
    ) -> list[HistoryItem]:
        """Return up to *limit* items of *asset* with a timestamp in [from_s, to_s), newest first.

        Raises:
            StorageUnavailable: the store cannot be read now.
        """
        ...

    def trim(self, before_s: int) -> None:
        """Forget what has a timestamp before *before_s*, some of it at each call.

        Raises:
            StorageUnavailable: it can be done later.
        """
        ...

    def ping(self) -> None:
        """Check that the store can be written; creates what is missing.

        Raises:
            StorageUnavailable: it cannot, with the reason.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
