"""The outbox: minute rows on their way to the store, in a SQLite file of their own."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from marketflow.adapters.storage import minute_table
from marketflow.adapters.storage.sqlite_file import DatabaseCorrupt, SqliteFile
from marketflow.application.ports import Clock, RefusedRow
from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode

log = logging.getLogger(__name__)

T = TypeVar("T")

_NOTICE_MS = 5_000

_BY_TIME = """
CREATE INDEX IF NOT EXISTS market_data_by_time ON market_data (timestamp, exchange, pair_name)
"""
# rows that the store refused keep their place in market_data, so that questions still find them
_PARKED = """
CREATE TABLE IF NOT EXISTS parked (
    mode      TEXT NOT NULL,
    exchange  TEXT NOT NULL,
    pair_name TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    reason    TEXT NOT NULL,
    PRIMARY KEY (mode, exchange, pair_name, timestamp)
)
"""
_PARK = "INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?)"
_UNPARK = "DELETE FROM parked WHERE mode = ? AND exchange = ? AND pair_name = ? AND timestamp = ?"
_UNPARK_ALL = "DELETE FROM parked"
_UNPARK_DROPPED = """
DELETE FROM parked WHERE (mode, exchange, pair_name, timestamp) NOT IN (
    SELECT mode, exchange, pair_name, timestamp FROM market_data
)
"""
# says how many keys are new, which the upsert after it does not
_INSERT_NEW = """
INSERT INTO market_data (
    pair_name, exchange, timestamp, average_price, min_price, max_price, open_price, close_price,
    open_at, close_at, min_at, max_at, tick_count, mode
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (mode, exchange, pair_name, timestamp) DO NOTHING
"""
_NOT_PARKED = """
WHERE (mode, exchange, pair_name, timestamp) NOT IN (
    SELECT mode, exchange, pair_name, timestamp FROM parked
)
"""
_OLDEST = minute_table.SELECT + _NOT_PARKED + "ORDER BY timestamp, exchange, pair_name LIMIT ?"
_ACKNOWLEDGE = """
DELETE FROM market_data
WHERE mode = ? AND exchange = ? AND pair_name = ? AND timestamp = ? AND tick_count = ?
"""
_COUNT = "SELECT count(*) FROM market_data"
_COUNT_PARKED = "SELECT count(*) FROM parked"
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
        self._count = 0  # parked rows included
        self._parked = 0
        self._notice: str | None = None
        self._notice_until_mono = 0
        self._count_lock = threading.Lock()

    def put(self, rows: Sequence[MinuteRow]) -> None:
        values = [minute_table.values_of(row) for row in rows]

        def put() -> None:
            with self._file.transaction() as connection:
                added = connection.executemany(_INSERT_NEW, values).rowcount
                connection.executemany(minute_table.UPSERT, values)
                # another version may please the store
                connection.executemany(_UNPARK, [_key_of(row) for row in rows])
                (parked,) = connection.execute(_COUNT_PARKED).fetchone()
            self._note(added, parked)

        self._heal(put)

    def oldest(self, limit: int) -> list[MinuteRow]:
        def oldest() -> list[MinuteRow]:
            with self._file.connection() as connection:
                return minute_table.rows_of(connection.execute(_OLDEST, (limit,)))

        return self._heal(oldest)

    def acknowledge(self, rows: Sequence[MinuteRow]) -> None:
        versions = [(*_key_of(row), row.tick_count) for row in rows]

        def acknowledge() -> None:
            with self._file.transaction() as connection:
                deleted = connection.executemany(_ACKNOWLEDGE, versions).rowcount
            self._note(-deleted)

        self._heal(acknowledge)

    def park(self, refused: Sequence[RefusedRow]) -> None:
        marks = [(*_key_of(row), reason) for row, reason in refused]

        def park() -> None:
            with self._file.transaction() as connection:
                connection.executemany(_PARK, marks)
                connection.execute(_UNPARK_DROPPED)
                (parked,) = connection.execute(_COUNT_PARKED).fetchone()
            self._note(0, parked)

        self._heal(park)

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
                dropped += self._drop_over_size(connection, self._count - dropped)
                connection.execute(_UNPARK_DROPPED)
                (parked,) = connection.execute(_COUNT_PARKED).fetchone()
            self._note(-dropped, parked)
            return dropped

        return self._heal(trim)

    def count(self) -> int:
        return self._count - self._parked

    def parked(self) -> int:
        return self._parked

    def notice(self) -> str | None:
        told = self._notice is not None and self._clock.now().mono_ms < self._notice_until_mono
        return self._notice if told else None

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
        for statement in (minute_table.TABLE, minute_table.BY_PAIR, _BY_TIME, _PARKED):
            connection.execute(statement)
        connection.execute(_UNPARK_ALL)  # an operator may have mended the store: once more
        (rows,) = connection.execute(_COUNT).fetchone()
        with self._count_lock:
            self._count, self._parked = rows, 0

    def _note(self, rows: int, parked: int | None = None) -> None:
        with self._count_lock:
            self._count += rows
            self._parked = self._parked if parked is None else parked

    def _heal(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except DatabaseCorrupt as error:
            time = minute_table.rfc3339(self._clock.now().wall_ms)
            suffix = ".corrupt-" + time.replace("-", "").replace(":", "")
            lost = self._count
            if self._file.set_aside(error, suffix):
                self._notice = f"outbox was corrupt and set aside as {self._file.path.name}{suffix}"
                self._notice_until_mono = self._clock.now().mono_ms + _NOTICE_MS
                log.error(
                    "outbox is corrupt, set aside and started anew",
                    extra={"reason": str(error), "suffix": suffix, "rows_lost": lost},
                )
        return step()


def _key_of(row: MinuteRow) -> tuple[str, str, str, str]:
    return (row.mode.value, row.exchange, row.pair_name, minute_table.rfc3339(row.timestamp_ms))
