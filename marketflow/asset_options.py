"""What can be configured of the aggregated asset prices."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from marketflow.domain.mode import Mode
from marketflow.options import NAME, PATH
from marketflow.sections import Section, Variant
from marketflow.settings import (
    Choice,
    ConfigError,
    Duration,
    ListOf,
    MapOf,
    Maybe,
    Number,
    Switch,
    Text,
    Whole,
)

_ASSET = Text(r"[a-z0-9]{1,32}", "1 to 32 letters and digits", into=str.lower)
_URL = Text(r"https?://[!-~]{1,2000}", "an address that begins with http:// or https://")
_FIELD = Text(r"[^\x00-\x1f\x7f]{0,256}", "a dotted path such as result.price, or empty")
_HEADER_NAME = Text(r"[!#$%&'*+.^_`|~0-9a-z-]{1,128}", "the name of a header")
_HEADER_VALUE = Text(r"[\t -~]{0,4096}", "at most 4096 ASCII characters", secret=True)
_THEIR_NAME = Text(r"[!-~]{1,64}", "1 to 64 ASCII characters without spaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldsSettings:
    """Where an exchange's answer holds what; an empty path: it does not tell."""

    price: Annotated[str, _FIELD] = "price"
    volume: Annotated[str, _FIELD] = "volume"
    timestamp: Annotated[str, _FIELD] = "timestamp"
    error: Annotated[str, _FIELD] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerSettings:
    """An exchange that is asked for one asset's quote at a time."""

    name: Annotated[str, NAME]
    kind: Annotated[str, Choice("http")] = "http"
    url: Annotated[str, _URL]
    fields: FieldsSettings = FieldsSettings()
    symbols: Annotated[tuple[tuple[str, str], ...], MapOf(_ASSET, _THEIR_NAME)] = ()
    headers: Annotated[tuple[tuple[str, str], ...], MapOf(_HEADER_NAME, _HEADER_VALUE)] = field(
        default=(), repr=False
    )
    max_rps: Annotated[float | None, Maybe(Number(0.001, 1_000_000))] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedQuotesSettings:
    """Quotes made up in this process, the same for the same seed."""

    name: Annotated[str, NAME]
    kind: Annotated[str, Choice("generated")] = "generated"
    seed: Annotated[int, Whole(0, (1 << 63) - 1)] = 1


QuoteSettings = TickerSettings | GeneratedQuotesSettings

_SOURCES = ListOf(
    Variant({"http": TickerSettings, "generated": GeneratedQuotesSettings}, default="http"),
    "a list of sources",
    key="name",
    may_be_empty=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSourcesSettings:
    """Whom each mode asks for quotes."""

    live: Annotated[tuple[QuoteSettings, ...], _SOURCES] = tuple(
        TickerSettings(
            name=f"exchange{n}", url=f"http://127.0.0.1:{8080 + n}/mock/ticker/{{symbol}}"
        )
        for n in (1, 2, 3)
    )
    test: Annotated[tuple[QuoteSettings, ...], _SOURCES] = tuple(
        GeneratedQuotesSettings(name=f"exchange{n}", seed=n) for n in (1, 2, 3)
    )

    def of(self, mode: Mode) -> tuple[QuoteSettings, ...]:
        """Return the sources of *mode*."""
        return self.live if mode is Mode.LIVE else self.test


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSettings:
    """So many of the assets, refreshed so often; without a count all the rest."""

    name: Annotated[str, NAME]
    count: Annotated[int | None, Maybe(Whole(1, 1_000_000))] = None
    every_ms: Annotated[int, Duration("100ms", "1d")]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When an exchange that fails is left alone, and for how long."""

    failures: Annotated[int, Whole(1, 10_000)] = 5
    open_for_ms: Annotated[int, Duration("10ms", "1d")] = 30_000
    probes: Annotated[int, Whole(1, 100)] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsSettings:
    """The aggregated prices of many assets."""

    enabled: Annotated[bool, Switch()] = True
    symbols_file: Annotated[Path, PATH] = Path("symbols.csv")
    refresh: Annotated[bool, Switch()] = True
    ttl_ms: Annotated[int, Duration("1s", "30d")] = 300_000
    history: Annotated[str, Choice("auto", "sqlite", "postgres", "dynamodb")] = "auto"
    history_retention_ms: Annotated[int, Duration("1m", "3650d")] = 86_400_000
    min_sources: Annotated[int, Whole(1, 1_000)] = 1
    max_deviation: Annotated[float | None, Maybe(Number(0.000001, 1_000))] = None
    max_quote_age_ms: Annotated[int, Duration("1ms", "30d")] = 60_000
    timeout_ms: Annotated[int, Duration("10ms", "1m")] = 2_000
    tiers: Annotated[
        tuple[TierSettings, ...],
        ListOf(Section(TierSettings), "a list of at least one tier", key="name"),
    ] = (
        TierSettings(name="hot", count=20, every_ms=5_000),
        TierSettings(name="medium", count=180, every_ms=30_000),
        TierSettings(name="cold", every_ms=180_000),
    )
    breaker: BreakerSettings = BreakerSettings()

    def __post_init__(self) -> None:
        *counted, last = self.tiers
        if last.count is not None or any(tier.count is None for tier in counted):
            raise ConfigError("assets.tiers must hold a count in each tier but the last")


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamodbSettings:
    """The table that keeps asset prices when assets.history is dynamodb."""

    region: Annotated[str, Text(r"[a-z0-9-]{1,64}", "the name of a region")] = "us-west-2"
    endpoint_url: Annotated[str | None, Maybe(_URL)] = None
    table: Annotated[
        str, Text(r"[a-z0-9_.-]{3,250}", "3 to 250 letters, digits, '_', '.', '-'")
    ] = "prices"
