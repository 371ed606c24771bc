"""The outbox: minute rows on their way to the store, in a SQLite file of their own."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from marketflow.adapters.storage import minute_table
from marketflow.adapters.storage.sqlite_file import DatabaseCorrupt, SqliteFile
from marketflow.application.ports import Clock
from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

T = TypeVar("T")

_BY_TIME = """
CREATE INDEX IF NOT EXISTS market_data_by_time ON market_data (timestamp, exchange, pair_name)
"""
# says how many keys are new, which the upsert after it does not
_INSERT_NEW = """
INSERT INTO market_data (
    pair_name, exchange, timestamp, average_price, min_price, max_price, open_price, close_price,
    open_at, close_at, min_at, max_at, tick_count, mode
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (mode, exchange, pair_name, timestamp) DO NOTHING
"""
_OLDEST = minute_table.SELECT + "ORDER BY timestamp, exchange, pair_name LIMIT ?"
_ACKNOWLEDGE = """
DELETE FROM market_data
WHERE mode = ? AND exchange = ? AND pair_name = ? AND timestamp = ? AND tick_count = ?
"""
_COUNT = "SELECT count(*) FROM market_data"
_DROP_BEFORE = "DELETE FROM market_data WHERE timestamp < ?"
_DROP_OLDEST = """
DELETE FROM market_data WHERE (mode, exchange, pair_name, timestamp) IN (
    SELECT mode, exchange, pair_name, timestamp FROM market_data
    ORDER BY timestamp, exchange, pair_name LIMIT ?
)
"""
_USED_BYTES = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""


class SqliteOutbox:
    """Rows in *path*, opened when first used; until then `count` is 0.

    A corrupt file is set aside as `<path>.corrupt-<time>` and another one started. `trim` drops
    rows whose minute ended more than *max_age_ms* ago, then the oldest while the pages in use
    are over *max_bytes*, assuming that all rows are of one size.
    """

    def __init__(self, path: Path, *, max_age_ms: int, max_bytes: int, clock: Clock) -> None:
        self._file = SqliteFile(path, "outbox", prepare=self._create)
        self._max_age_ms = max_age_ms
        self._max_bytes = max_bytes
        self._clock = clock
        self._count = 0
        self._count_lock = threading.Lock()

    def put(self, rows: Sequence[MinuteRow]) -> None:
        values = [minute_table.values_of(row) for row in rows]

        def put() -> None:
            with self._file.transaction() as connection:
                added = connection.executemany(_INSERT_NEW, values).rowcount
                connection.executemany(minute_table.UPSERT, values)
            self._add(added)

        self._heal(put)

    def oldest(self, limit: int) -> list[MinuteRow]:
        def oldest() -> list[MinuteRow]:
            with self._file.connection() as connection:
                return minute_table.rows_of(connection.execute(_OLDEST, (limit,)))

        return self._heal(oldest)

    def acknowledge(self, rows: Sequence[MinuteRow]) -> None:
        versions = [
            (
                row.mode.value,
                row.exchange,
                row.pair_name,
                minute_table.rfc3339(row.timestamp_ms),
                row.tick_count,
            )
            for row in rows
        ]

        def acknowledge() -> None:
            with self._file.transaction() as connection:
                deleted = connection.executemany(_ACKNOWLEDGE, versions).rowcount
            self._add(-deleted)

        self._heal(acknowledge)

    def rows(
        self, mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
    ) -> list[MinuteRow]:
        def rows() -> list[MinuteRow]:
            with self._file.connection() as connection:
                return minute_table.select(connection, mode, symbol, exchange, from_ms, to_ms)

        return self._heal(rows)

    def trim(self, now_ms: int) -> int:
        before = minute_table.rfc3339(now_ms - self._max_age_ms)

        def trim() -> int:
            with self._file.transaction() as connection:
                dropped = connection.execute(_DROP_BEFORE, (before,)).rowcount
                dropped += self._drop_over_size(connection, self.count() - dropped)
            self._add(-dropped)
            return dropped

        return self._heal(trim)

    def count(self) -> int:
        return self._count

    def close(self) -> None:
        self._file.close()

    def _drop_over_size(self, connection: sqlite3.Connection, rows: int) -> int:
        (used_bytes,) = connection.execute(_USED_BYTES).fetchone()
        over_bytes = used_bytes - self._max_bytes
        if over_bytes <= 0 or rows <= 0:
            return 0
        limit = -(-over_bytes * rows // used_bytes)
        return connection.execute(_DROP_OLDEST, (limit,)).rowcount

    def _create(self, connection: sqlite3.Connection) -> None:
        for statement in (minute_table.TABLE, minute_table.BY_PAIR, _BY_TIME):
            connection.execute(statement)
        (rows,) = connection.execute(_COUNT).fetchone()
        with self._count_lock:
            self._count = rows

    def _add(self, rows: int) -> None:
        with self._count_lock:
            self._count += rows

    def _heal(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except DatabaseCorrupt as error:
            time = minute_table.rfc3339(self._clock.now().wall_ms)
            suffix = ".corrupt-" + time.replace("-", "").replace(":", "")
            lost = self._count
            if self._file.set_aside(error, suffix):
                log.error(
                    "outbox is corrupt, set aside and started anew",
                    extra={"reason": str(error), "suffix": suffix, "rows_lost": lost},
                )
        return step()
