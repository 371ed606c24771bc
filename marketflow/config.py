"""The configuration as a whole, and where it is read from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from marketflow.asset_options import AssetsSettings, DynamodbSettings, HttpSourcesSettings
from marketflow.domain.mode import Mode
from marketflow.options import (
    PATH,
    SYMBOL,
    AggregationSettings,
    CacheSettings,
    FeedSettings,
    HttpSettings,
    JournalSettings,
    LogSettings,
    OutboxSettings,
    PipelineSettings,
    PostgresSettings,
    RedisSettings,
    SourcesSettings,
    StorageSettings,
    WindowSettings,
)
from marketflow.sections import build, leaves, read_environ, read_file, shown
from marketflow.settings import Choice, ConfigError, ListOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be configured; a new section is a dataclass and a line here."""

    mode: Annotated[Mode, Choice(*Mode)] = Mode.TEST
    data_dir: Annotated[Path, PATH] = Path("var")
    symbols: Annotated[tuple[str, ...], ListOf(SYMBOL, "a list of at least one symbol")] = (
        "BTCUSDT",
        "DOGEUSDT",
        "TONUSDT",
        "SOLUSDT",
        "ETHUSDT",
    )
    sources: SourcesSettings = SourcesSettings()
    feed: FeedSettings = FeedSettings()
    pipeline: PipelineSettings = PipelineSettings()
    aggregation: AggregationSettings = AggregationSettings()
    window: WindowSettings = WindowSettings()
    journal: JournalSettings = JournalSettings()
    outbox: OutboxSettings = OutboxSettings()
    storage: StorageSettings = StorageSettings()
    postgres: PostgresSettings = PostgresSettings()
    cache: CacheSettings = CacheSettings()
    redis: RedisSettings = RedisSettings()
    assets: AssetsSettings = AssetsSettings()
    sources_http: HttpSourcesSettings = HttpSourcesSettings()
    dynamodb: DynamodbSettings = DynamodbSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    def __post_init__(self) -> None:
        if not self.sources.of(self.mode):
            raise ConfigError(
                f"sources.{self.mode} must hold at least one source when mode is {self.mode},"
                " was []"
            )

    def shown(self) -> dict[str, object]:
        """Return the configuration in the shape of the file; secrets as `***`."""
        return shown(self)


class Loaded(NamedTuple):
    """The configuration, and the sentences that are worth a warning."""

    config: Config
    warnings: list[str]


def load(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
) -> Loaded:
    """Read the file at *path* (None: there is none), over it *environ*, over that *overrides*.

    *overrides* maps dotted keys (`http.port`) to what `parse_setting` returned for them.

    Raises:
        ConfigError: the first setting that cannot be used.
    """
    from_file = {} if path is None else read_file(Config, path)
    from_environ, warnings = read_environ(Config, environ, "MARKETFLOW_")
    return Loaded(build(Config, from_file | from_environ | dict(overrides or {})), warnings)


def parse_setting(key: str, text: str, at: str) -> object:
    """Return *text* as the value of the setting with the dotted *key*; *at* names it in errors.

    Raises:
        ConfigError: it is not what the setting may be.
    """
    return leaves(Config)[key].parse(text, at)
