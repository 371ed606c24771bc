"""The aggregated prices with fakes all around, and what tests say of them in short."""

from marketflow.application.assets.service import AssetRules, Assets
from marketflow.domain.asset import AssetCatalog, AssetPrice, Quote, Tier
from marketflow.domain.mode import Mode
from tests.fake_assets import FakeExchange, MemoryAssetHistory
from tests.fakes import ManualClock

TIERS = (Tier("hot", 2, 5_000), Tier("medium", 3, 30_000), Tier("cold", None, 180_000))
NAMES = ("btcusdt", "ethusdt", "adausdt", "solusdt", "xrpusdt", "dogeusdt", "tonusdt")


def catalog_of(count, tiers=TIERS):
    return AssetCatalog([f"asset{n}" for n in range(count)], tiers)


def price_of(clock, asset="btcusdt", price=100.0, *, at_ms=0):
    """Return a price made *at_ms* after the clock's now."""
    now_ms = clock.now().wall_ms + at_ms
    return AssetPrice(asset, price, now_ms, now_ms, ())


class Rig:
    """Three exchanges a mode that quote 100, 200 and 300 at once; nothing runs by itself."""

    def __init__(self, *, catalog=None, history=None, cache=None, clock=None, **rules):
        self.clock = clock or ManualClock()
        self.mode = Mode.LIVE
        self.history = history or MemoryAssetHistory()
        self.cache = cache
        self.exchanges = {
            mode: [FakeExchange(f"exchange{n}", self.quotes(n)) for n in (1, 2, 3)] for mode in Mode
        }
        self.catalog = catalog or AssetCatalog(NAMES, TIERS)
        self.assets = Assets(
            self.catalog,
            sources=self.exchanges,
            history=self.history,
            cache=cache,
            rules=AssetRules(**rules),
            clock=self.clock,
            mode=lambda: self.mode,
        )
        self.prices = self.assets.prices
        self.refreshes = self.assets.refreshes
        self.report = self.assets.report

    @property
    def live(self):
        return self.exchanges[Mode.LIVE]

    def breakers(self, mode=Mode.LIVE):
        return [breaker for _, breaker in self.assets.books[mode].exchanges]

    def quotes(self, n, price=None, *, age_ms=0, volume=1.0):
        """Return the answer of exchange *n*."""
        quoted = 100.0 * n if price is None else price

        def answer(_asset):
            at_ms = self.clock.now().wall_ms - age_ms
            return Quote(f"exchange{n}", quoted, volume, at_ms)

        return answer

    def answer(self, *answers, mode=Mode.LIVE):
        """Let the exchanges answer so from now on, in order; None: not at all."""
        for exchange, answer in zip(self.exchanges[mode], answers, strict=True):
            exchange.answer = answer

    def silence(self):
        """Let no exchange answer until it is told to."""
        self.answer(None, None, None)

    def refresh(self, name="btcusdt"):
        return self.refreshes.refresh(name)

    def refreshed(self, name="btcusdt"):
        return self.refresh(name).result(timeout=0)


def says(error):
    """Return an exchange's answer that is *error*."""
    return lambda _asset: error
