"""From settings to what outlives the process: journal, outbox and the store of minutes."""

from dataclasses import dataclass

from marketflow.adapters.storage.journal import FileJournal, NoJournal
from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.application.ports import Clock, Journal, MinuteStore, Outbox
from marketflow.config import Config


@dataclass(frozen=True, slots=True)
class Stores:
    """What is closed last, and how long the journal is needed."""

    journal: Journal
    outbox: Outbox
    store: MinuteStore
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
    store = SqliteStore(config.data_dir / "marketflow.db")
    return Stores(journal, outbox, store, max(config.window.span_ms, rows_need_ms))
