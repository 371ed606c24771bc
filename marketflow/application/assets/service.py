"""The aggregated prices as one part of the service: its objects, its threads, its end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from marketflow.application.asset_ports import AssetCache, AssetHistory, QuoteSource
from marketflow.application.assets.book import AssetBook, Exchange
from marketflow.application.assets.breaker import Breaker
from marketflow.application.assets.historian import Historian
from marketflow.application.assets.prices import AssetPrices
from marketflow.application.assets.refresher import Refresher
from marketflow.application.assets.refreshes import Refreshes
from marketflow.application.assets.report import AssetReport
from marketflow.application.assets.sharing import Sharing
from marketflow.application.pipeline.loop import Loop
from marketflow.application.ports import Clock
from marketflow.domain.asset import AssetCatalog
from marketflow.domain.mode import Mode
from marketflow.domain.vwap import VwapPolicy


@dataclass(frozen=True, slots=True)
class AssetRules:
    """How prices are made and kept."""

    policy: VwapPolicy = VwapPolicy()
    refresh: bool = True  # by themselves; without, only when asked
    timeout_ms: int = 2_000  # for exchanges to answer
    ttl_ms: int = 300_000  # for which a price may be told
    history_retention_ms: int | None = None  # None: for ever
    breaker_failures: int = 5
    breaker_open_for_ms: int = 30_000
    breaker_probes: int = 2


class Assets:
    """Every part, wired. Started sink first, closed source first."""

    def __init__(
        self,
        catalog: AssetCatalog,
        *,
        sources: Mapping[Mode, Sequence[QuoteSource]],
        history: AssetHistory,
        cache: AssetCache | None,
        rules: AssetRules,
        clock: Clock,
        mode: Callable[[], Mode],
    ) -> None:
        self.books = {which: _book(which, sources[which], rules) for which in Mode}
        self.historian = Historian(history, clock=clock, retention_ms=rules.history_retention_ms)
        self.sharing = _sharing(cache, self.books, catalog, rules, clock=clock, mode=mode)
        self.refreshes = Refreshes(
            catalog,
            books=self.books,
            historian=self.historian,
            sharing=self.sharing,
            policy=rules.policy,
            timeout_ms=rules.timeout_ms,
            clock=clock,
            mode=mode,
        )
        self.refresher = Refresher(
            catalog,
            refreshes=self.refreshes,
            books=self.books,
            enabled=rules.refresh,
            clock=clock,
            mode=mode,
        )
        self._build_answers(catalog, history, clock, mode)
        self.loops = self._loops()

    def start(self) -> None:
        """Start the threads."""
        for loop in self.loops:
            loop.start()

    def close(self) -> None:
        """Refresh no more; the threads write what was refreshed, and end."""
        self.refresher.close()
        for book in self.books.values():
            for source, _ in book.exchanges:
                source.close()
        if self.sharing is not None:
            self.sharing.close()
        self.historian.close()

    def _loops(self) -> list[Loop]:
        loops = [Loop("historian", self.historian.run)]
        if self.sharing is not None:
            loops.append(Loop("asset-cache", self.sharing.run))
        return [*loops, Loop("refresher", self.refresher.run)]

    def _build_answers(
        self,
        catalog: AssetCatalog,
        history: AssetHistory,
        clock: Clock,
        mode: Callable[[], Mode],
    ) -> None:
        self.prices = AssetPrices(
            catalog,
            books=self.books,
            history=history,
            historian=self.historian,
            sharing=self.sharing,
            clock=clock,
            mode=mode,
        )
        self.report = AssetReport(
            self.prices,
            books=self.books,
            historian=self.historian,
            sharing=self.sharing,
            clock=clock,
            mode=mode,
        )


def _sharing(
    cache: AssetCache | None,
    books: Mapping[Mode, AssetBook],
    catalog: AssetCatalog,
    rules: AssetRules,
    *,
    clock: Clock,
    mode: Callable[[], Mode],
) -> Sharing | None:
    if cache is None:
        return None
    return Sharing(
        cache, books=books, assets=catalog.names, ttl_ms=rules.ttl_ms, clock=clock, mode=mode
    )


def _book(mode: Mode, sources: Sequence[QuoteSource], rules: AssetRules) -> AssetBook:
    exchanges = [
        Exchange(
            source,
            Breaker(
                source.exchange,
                failures=rules.breaker_failures,
                open_for_ms=rules.breaker_open_for_ms,
                probes=rules.breaker_probes,
            ),
        )
        for source in sources
    ]
    return AssetBook(mode, exchanges, ttl_ms=rules.ttl_ms)
