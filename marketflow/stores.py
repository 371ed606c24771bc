"""From settings to what outlives the process: journal, outbox, store of minutes, mirror."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marketflow.adapters.storage.journal import FileJournal, NoJournal
from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.adapters.storage.sqlite_assets import SqliteAssetHistory
from marketflow.application.asset_ports import AssetCache, AssetHistory
from marketflow.application.pipeline.publisher import Publisher
from marketflow.application.ports import Clock, Journal, MinuteStore, Outbox, TickMirror
from marketflow.config import Config

_SCHEMA = Path(__file__).resolve().parents[1] / "schema.sql"


@dataclass(frozen=True, slots=True)
class Stores:
    """What is closed last, and how long the journal is needed."""

    journal: Journal
    outbox: Outbox
    store: MinuteStore
    mirror: TickMirror | None  # closed by its publisher
    retention_ms: int

    def close(self) -> None:
        """Close everything."""
        self.journal.close()
        self.outbox.close()
        self.store.close()


def stores_of(config: Config, clock: Clock) -> Stores:
    """Return the stores that *config* asks for; nothing is opened yet."""
    aggregation, feed = config.aggregation, config.feed
    # how long a minute can still change, its earliest tick counted
    rows_need_ms = (
        (aggregation.late_intervals + 1) * aggregation.interval_ms
        + aggregation.grace_ms
        + feed.max_clock_skew_ms
    )
    journal: Journal = NoJournal(clock.now().wall_ms)
    if config.journal.enabled:
        journal = FileJournal(
            config.data_dir / "journal",
            max_bytes=config.journal.max_bytes,
            rows_need_ms=rows_need_ms,
        )
    outbox = SqliteOutbox(
        config.data_dir / "outbox.db",
        max_age_ms=config.outbox.max_age_ms,
        max_bytes=config.outbox.max_bytes,
        clock=clock,
    )
    retention_ms = max(config.window.span_ms, rows_need_ms)
    return Stores(journal, outbox, _store_of(config), _mirror_of(config), retention_ms)


def publisher_of(config: Config, stores: Stores, clock: Clock) -> Publisher | None:
    """Return what hands ticks to the mirror, if there is one."""
    if stores.mirror is None:
        return None
    cache = config.cache
    return Publisher(
        stores.mirror,
        clock=clock,
        flush_interval_ms=cache.flush_interval_ms,
        retention_ms=cache.retention_ms,
        max_bytes=cache.max_bytes,
    )


def _store_of(config: Config) -> MinuteStore:
    if config.storage.backend == "sqlite":
        return SqliteStore(config.data_dir / "marketflow.db")
    # only now: the embedded default runs without any installation
    from marketflow.adapters.storage.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore(
        **_postgres_address(config),
        pool_size=config.postgres.pool_size,
        schema=_SCHEMA.read_text(encoding="utf-8"),
    )


def history_of(config: Config) -> AssetHistory:
    """Return what keeps asset prices for good; nothing is opened yet.

    Raises:
        ImportError: its package is not installed.
    """
    wanted = config.assets.history
    match config.storage.backend if wanted == "auto" else wanted:
        case "postgres":
            from marketflow.adapters.storage.postgres_assets import (  # noqa: PLC0415  as above
                PostgresAssetHistory,
            )
            from marketflow.adapters.storage.postgres_server import PostgresServer  # noqa: PLC0415

            return PostgresAssetHistory(PostgresServer(**_postgres_address(config)))
        case "dynamodb":
            from marketflow.adapters.storage.dynamodb import (  # noqa: PLC0415  as above
                DynamoAssetHistory,
            )

            settings = config.dynamodb
            return DynamoAssetHistory(
                region=settings.region, endpoint_url=settings.endpoint_url, table=settings.table
            )
        case _:
            return SqliteAssetHistory(config.data_dir / "marketflow.db")


def asset_cache_of(config: Config) -> AssetCache | None:
    """Return what shares asset prices with other programs, if anything does."""
    if config.cache.backend == "memory":
        return None
    from marketflow.adapters.cache.redis_assets import RedisAssets  # noqa: PLC0415  as above

    return RedisAssets(**_redis_address(config))


def _postgres_address(config: Config) -> dict[str, Any]:
    settings = config.postgres
    return {
        "host": settings.host,
        "port": settings.port,
        "user": settings.user,
        "password": settings.password,
        "database": settings.database,
        "sslmode": settings.sslmode,
        "connect_timeout_s": settings.connect_timeout_ms / 1000,
        "statement_timeout_s": settings.statement_timeout_ms / 1000,
    }


def _redis_address(config: Config) -> dict[str, Any]:
    settings = config.redis
    return {
        "host": settings.host,
        "port": settings.port,
        "timeout_s": settings.timeout_ms / 1000,
        "db": settings.db,
        "username": settings.username,
        "password": settings.password,
        "tls": settings.tls,
    }


def _mirror_of(config: Config) -> TickMirror | None:
    if config.cache.backend == "memory":
        return None
    from marketflow.adapters.cache.redis_ticks import RedisTickMirror  # noqa: PLC0415  as above

    return RedisTickMirror(**_redis_address(config), retention_ms=config.cache.retention_ms)
