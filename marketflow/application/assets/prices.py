"""Questions about aggregated prices, answered from memory; what may block says so."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from marketflow.application.asset_ports import AssetHistory
from marketflow.application.assets.book import AssetBook
from marketflow.application.assets.historian import Historian
from marketflow.application.assets.sharing import Sharing
from marketflow.application.ports import Clock
from marketflow.domain.asset import AssetCatalog, AssetPrice, HistoryItem
from marketflow.domain.errors import AssetNotFound, BadParameter, UnknownAsset
from marketflow.domain.mode import Mode


class AssetView(NamedTuple):
    """A price as it is told: how old it is, by its own timestamp, and whether that is too old."""

    price: AssetPrice
    tier: str
    age_ms: int
    stale: bool


class ListedAsset(NamedTuple):
    """An asset, and the time of the newest quote in its price in memory, if there is one."""

    asset: str
    tier: str
    timestamp_ms: int | None


class AssetListing(NamedTuple):
    """Some assets in the catalog's order; what to go on *after*, None: there are no more."""

    assets: list[ListedAsset]
    after: str | None


class AssetPrices:
    """Answers for the current mode; asks no exchange."""

    def __init__(
        self,
        catalog: AssetCatalog,
        *,
        books: Mapping[Mode, AssetBook],
        history: AssetHistory,
        historian: Historian,
        sharing: Sharing | None,
        clock: Clock,
        mode: Callable[[], Mode],
    ) -> None:
        self.catalog = catalog
        self.asset = catalog.asset
        self._books = books
        self._history = history
        self._historian = historian
        self._sharing = sharing
        self._clock = clock
        self._mode = mode
        self.hits = 0  # questions for which there was a price, here or in the shared cache
        self.misses = 0

    def price(self, name: str) -> AssetView:
        """Return the price of an asset; for every GET, so a few look-ups and no lock.

        Raises:
            UnknownAsset
            AssetNotFound: there is none in memory; ask `must_look` before.
        """
        asset = self.catalog.asset(name)
        now = self._clock.now()
        entry = self._books[self._mode()].entry(asset)
        if entry is None or entry.expires_mono <= now.mono_ms:
            self.misses += 1
            raise AssetNotFound
        self.hits += 1
        return self._view(entry.price, now.wall_ms)

    def some(self, names: Iterable[str]) -> tuple[list[AssetView], list[str]]:
        """Return the prices in memory of *names*, in order and once each, and who has none."""
        views: dict[str, AssetView] = {}
        missing: list[str] = []
        for name in names:
            try:
                view = self.price(name)
            except (UnknownAsset, AssetNotFound):
                missing.append(name)
            else:
                views[view.price.asset] = view
        return list(views.values()), list(dict.fromkeys(missing))

    def must_look(self, asset: str) -> bool:
        """Whether *asset* is not in memory, and a shared cache that works may have it: `look`."""
        if self._sharing is None or self._sharing.problem is not None:
            return False
        return self._books[self._mode()].price(asset, self._clock.now().mono_ms) is None

    def look(self, name: str) -> AssetView:
        """Return the price of an asset from the shared cache, and keep it; may block a moment.

        Raises:
            UnknownAsset
            AssetNotFound: there is none, or the cache is away.
        """
        asset = self.catalog.asset(name)
        mode = self._mode()
        book = self._books[mode]
        started_mono = self._clock.now().mono_ms
        cached = None if self._sharing is None else self._sharing.read(mode, asset)
        if cached is not None:
            book.adopt(cached, started_mono)
        now = self._clock.now()
        price = book.price(asset, now.mono_ms)  # a refresh may have been faster
        if price is None:
            self.misses += 1
            raise AssetNotFound
        self.hits += 1
        return self._view(price, now.wall_ms)

    def listing(self, tier: str | None, after: str | None, limit: int) -> AssetListing:
        """Return up to *limit* assets, of one tier or of all, that come behind *after*.

        Raises:
            BadParameter: there is no such tier, or no such asset to go on from.
        """
        known = [one.name for one in self.catalog.tiers]
        if tier is not None and tier not in known:
            raise BadParameter(f"tier must be {', '.join(known)}, was {tier!r}")
        names = (name for name in self._behind(after) if tier in (None, self._tier(name)))
        some = list(islice(names, limit + 1))
        book, now_mono = self._books[self._mode()], self._clock.now().mono_ms
        listed = [
            ListedAsset(name, self._tier(name), None if price is None else price.timestamp_ms)
            for name in some[:limit]
            for price in [book.price(name, now_mono)]
        ]
        return AssetListing(listed, some[limit - 1] if len(some) > limit else None)

    def history(self, name: str, from_s: int, to_s: int, limit: int) -> list[HistoryItem]:
        """Return up to *limit* items in [from_s, to_s), newest first, one a second; blocks.

        Raises:
            UnknownAsset
            StorageUnavailable: the history cannot be read now.
        """
        asset, mode = self.catalog.asset(name), self._mode()
        # memory before store: an item on its way from one to the other is seen at least once
        waiting = self._historian.unwritten(mode, asset, from_s, to_s)
        items = {
            item.timestamp_s: item
            for item in self._history.newest(mode, asset, from_s, to_s, limit)
        }
        for item in waiting:
            known = items.get(item.timestamp_s)
            if known is None or item.updated_s >= known.updated_s:
                items[item.timestamp_s] = item
        return [items[at_s] for at_s in sorted(items, reverse=True)[:limit]]

    def _behind(self, after: str | None) -> Iterable[str]:
        names = self.catalog.names
        if after is None:
            return names
        try:
            return names[names.index(after.lower()) + 1 :]
        except ValueError:
            raise BadParameter(f"cursor must be a known asset, was {after!r}") from None

    def _tier(self, asset: str) -> str:
        return self.catalog.tier(asset).name

    def _view(self, price: AssetPrice, now_ms: int) -> AssetView:
        tier = self.catalog.tier(price.asset)
        age_ms = now_ms - price.timestamp_ms
        if age_ms < 0:  # noqa: PLR1730  a call of max costs four times as much
            age_ms = 0
        return AssetView(price, tier.name, age_ms, age_ms * 2 > tier.every_ms * 3)
