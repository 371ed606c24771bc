"""The table `market_data` as SQLite holds it, in the store and in the outbox."""

import sqlite3
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode

# NaN is NULL to SQLite, and infinity is above the largest number
TABLE = """
CREATE TABLE IF NOT EXISTS market_data (
    pair_name     TEXT    NOT NULL,
    exchange      TEXT    NOT NULL,
    timestamp     TEXT    NOT NULL,
    average_price REAL    NOT NULL,
    min_price     REAL    NOT NULL CHECK (min_price > 0),
    max_price     REAL    NOT NULL CHECK (max_price <= 1.7976931348623157e308),
    open_price    REAL    NOT NULL CHECK (open_price BETWEEN min_price AND max_price),
    close_price   REAL    NOT NULL CHECK (close_price BETWEEN min_price AND max_price),
    open_at       TEXT    NOT NULL,
    close_at      TEXT    NOT NULL,
    min_at        TEXT    NOT NULL,
    max_at        TEXT    NOT NULL,
    tick_count    INTEGER NOT NULL CHECK (tick_count > 0),
    mode          TEXT    NOT NULL CHECK (mode IN ('live', 'test')),
    PRIMARY KEY (mode, exchange, pair_name, timestamp),
    CHECK (average_price BETWEEN min_price AND max_price)
)
"""
BY_PAIR = """
CREATE INDEX IF NOT EXISTS market_data_by_pair
    ON market_data (mode, pair_name, timestamp, exchange)
"""
UPSERT = """
INSERT INTO market_data (
    pair_name, exchange, timestamp, average_price, min_price, max_price, open_price, close_price,
    open_at, close_at, min_at, max_at, tick_count, mode
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (mode, exchange, pair_name, timestamp) DO UPDATE SET
    average_price = excluded.average_price,
    min_price = excluded.min_price,
    max_price = excluded.max_price,
    open_price = excluded.open_price,
    close_price = excluded.close_price,
    open_at = excluded.open_at,
    close_at = excluded.close_at,
    min_at = excluded.min_at,
    max_at = excluded.max_at,
    tick_count = excluded.tick_count
WHERE excluded.tick_count >= market_data.tick_count
"""
# times as whole milliseconds: SQLite parses them in a fraction of the time that Python takes
SELECT = """
SELECT
    pair_name,
    exchange,
    CAST((julianday(timestamp) - 2440587.5) * 86400000.0 + 0.5 AS INTEGER),
    average_price,
    min_price,
    max_price,
    open_price,
    close_price,
    CAST((julianday(open_at) - 2440587.5) * 86400000.0 + 0.5 AS INTEGER),
    CAST((julianday(close_at) - 2440587.5) * 86400000.0 + 0.5 AS INTEGER),
    CAST((julianday(min_at) - 2440587.5) * 86400000.0 + 0.5 AS INTEGER),
    CAST((julianday(max_at) - 2440587.5) * 86400000.0 + 0.5 AS INTEGER),
    tick_count,
    mode
FROM market_data
"""
_OF_PAIR = (
    SELECT
    + """
WHERE mode = ? AND pair_name = ? AND timestamp >= ? AND timestamp < ?
ORDER BY timestamp, exchange
"""
)
_OF_PAIR_AND_EXCHANGE = (
    SELECT
    + """
WHERE mode = ? AND pair_name = ? AND timestamp >= ? AND timestamp < ? AND exchange = ?
ORDER BY timestamp
"""
)
_LATEST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: the text has four digits of year


class BrokenRow(sqlite3.DatabaseError):
    """The table holds what was not written by us."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


Values = tuple[str, str, str, float, float, float, float, float, str, str, str, str, int, str]


def values_of(row: MinuteRow) -> Values:
    """Return *row* in the order of the table's columns."""
    return (
        row.pair_name,
        row.exchange,
        rfc3339(row.timestamp_ms),
        row.average_price,
        row.min_price,
        row.max_price,
        row.open_price,
        row.close_price,
        rfc3339(row.open_at_ms),
        rfc3339(row.close_at_ms),
        rfc3339(row.min_at_ms),
        rfc3339(row.max_at_ms),
        row.tick_count,
        row.mode.value,
    )


def rows_of(selected: sqlite3.Cursor) -> list[MinuteRow]:
    """Return the rows that a `SELECT` found.

    Raises:
        BrokenRow: one of them was not written by us.
    """
    try:
        return [_row_of(values) for values in selected]
    except ValueError as error:
        raise BrokenRow(f"a row of market_data cannot be read: {error}") from error
    except sqlite3.OperationalError as error:
        # text that is no UTF-8 is Python's complaint, not SQLite's: it comes without a code
        if hasattr(error, "sqlite_errorcode"):
            raise
        raise BrokenRow(f"a row of market_data cannot be read: {error}") from error


def select(
    connection: sqlite3.Connection,
    mode: Mode,
    symbol: str,
    exchange: str | None,
    from_ms: int,
    to_ms: int,
) -> list[MinuteRow]:
    """Return a pair's rows whose end is in [from_ms, to_ms), by time, then exchange."""
    bounds = (mode.value, symbol, rfc3339(from_ms), rfc3339(to_ms))
    if exchange is None:
        return rows_of(connection.execute(_OF_PAIR, bounds))
    return rows_of(connection.execute(_OF_PAIR_AND_EXCHANGE, (*bounds, exchange)))


def rfc3339(ms: int) -> str:
    """Return a time as text that sorts like it; what four-digit years cannot hold is clamped."""
    minute, rest = divmod(min(max(ms, 0), _LATEST_MS), 60_000)
    return f"{_minute_text(minute)}{rest // 1000:02d}.{rest % 1000:03d}Z"


def _row_of(values: tuple[Any, ...]) -> MinuteRow:
    if None in values:
        raise ValueError(f"times must be RFC 3339 text, the others not null, was {values!r}")
    return MinuteRow(*(*values[:-1], Mode(values[-1])))


@lru_cache(maxsize=1024)
def _minute_text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
