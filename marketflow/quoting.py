"""From settings to the aggregated asset prices: whom to ask, where prices are kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from marketflow.adapters.clock import SystemClock
from marketflow.adapters.exchange.generated_quotes import GeneratedQuotes
from marketflow.adapters.exchange.http_client import HttpClient
from marketflow.adapters.exchange.http_ticker import HttpTicker
from marketflow.adapters.exchange.quote_fields import QuoteFields
from marketflow.adapters.storage.symbols_csv import read_symbols
from marketflow.application.asset_ports import AssetHistory, QuoteSource
from marketflow.application.assets.service import AssetRules, Assets
from marketflow.application.pipeline.loop import Loop
from marketflow.application.ports import Clock
from marketflow.asset_options import GeneratedQuotesSettings, QuoteSettings
from marketflow.config import Config
from marketflow.domain.asset import AssetCatalog, Tier
from marketflow.domain.mode import Mode
from marketflow.domain.vwap import VwapPolicy
from marketflow.settings import ConfigError
from marketflow.stores import asset_cache_of, history_of

_HOME = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Quoting:
    """The asset prices, and the loop that asks the exchanges."""

    assets: Assets
    client: HttpClient
    loops: list[Loop]

    def close(self) -> None:
        """Let the loops end, source first; they need not be waited for one by one."""
        self.client.close()
        self.assets.close()


def quoting_of(config: Config, *, clock: Clock, mode: Callable[[], Mode]) -> Quoting:
    """Return what *config* asks for; nothing is opened yet.

    Raises:
        ConfigError: the assets' file or a source cannot be used.
        ImportError: the history's package is not installed.
    """
    client = HttpClient()
    history = history_of(config)
    assets = Assets(
        _catalog_of(config),
        sources=_sources_of(config, client, clock),
        history=history,
        cache=asset_cache_of(config),
        rules=_rules_of(config, history),
        clock=clock,
        mode=mode,
    )
    return Quoting(assets, client, [*assets.loops, Loop("quotes", client.run)])


def check_quoting(config: Config) -> None:
    """Check what settings alone do not tell: the assets' file, and whom to ask for what.

    Raises:
        ConfigError: the assets' file or a source cannot be used.
    """
    if config.assets.enabled:
        _catalog_of(config)
        _sources_of(config, HttpClient(), SystemClock(max_step_ms=0))


def _catalog_of(config: Config) -> AssetCatalog:
    path = config.assets.symbols_file
    beside = _HOME / path
    if not path.exists() and beside.exists():
        path = beside
    try:
        names = read_symbols(path)
    except ValueError as error:
        raise ConfigError(f"assets.symbols_file: {error}") from error
    tiers = [Tier(tier.name, tier.count, tier.every_ms) for tier in config.assets.tiers]
    return AssetCatalog(names, tiers)


def _rules_of(config: Config, history: AssetHistory) -> AssetRules:
    settings = config.assets
    return AssetRules(
        policy=VwapPolicy(settings.max_quote_age_ms, settings.min_sources, settings.max_deviation),
        refresh=settings.refresh,
        timeout_ms=settings.timeout_ms,
        ttl_ms=settings.ttl_ms,
        history_retention_ms=(
            settings.history_retention_ms if history.backend == "sqlite" else None
        ),
        breaker_failures=settings.breaker.failures,
        breaker_open_for_ms=settings.breaker.open_for_ms,
        breaker_probes=settings.breaker.probes,
    )


def _sources_of(config: Config, client: HttpClient, clock: Clock) -> dict[Mode, list[QuoteSource]]:
    return {
        mode: [
            _source_of(settings, client, clock, f"sources_http.{mode}")
            for settings in config.sources_http.of(mode)
        ]
        for mode in Mode
    }


def _source_of(settings: QuoteSettings, client: HttpClient, clock: Clock, at: str) -> QuoteSource:
    if isinstance(settings, GeneratedQuotesSettings):
        return GeneratedQuotes(settings.name, clock=clock, seed=settings.seed)
    fields = settings.fields
    try:
        return HttpTicker(
            settings.name,
            settings.url,
            client=client,
            clock=clock,
            fields=QuoteFields(fields.price, fields.volume, fields.timestamp, fields.error),
            symbols=dict(settings.symbols),
            headers=dict(settings.headers),
            max_rps=settings.max_rps,
        )
    except ValueError as error:
        raise ConfigError(f"{at}, {settings.name}: {error}") from error
