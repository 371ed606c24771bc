"""The table `market_data` as SQLite holds it, in the store and in the outbox."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from marketflow.application.ports import WHOLE, Page, Run
from marketflow.domain.candle import Candle
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
_MS = "CAST((julianday({}) - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)"
SELECT = f"""
SELECT
    pair_name,
    exchange,
    {_MS.format("timestamp")},
    average_price,
    min_price,
    max_price,
    open_price,
    close_price,
    {_MS.format("open_at")},
    {_MS.format("close_at")},
    {_MS.format("min_at")},
    {_MS.format("max_at")},
    tick_count,
    mode
FROM market_data
"""  # noqa: S608  no value is in it
_OF_PAIR = "WHERE mode = :mode AND pair_name = :pair AND timestamp >= :first AND timestamp < :end"
_OF_EXCHANGE = "AND exchange = :exchange"
_AFTER = "AND (timestamp > :first OR exchange > :after)"
_OLDEST_FIRST = "ORDER BY timestamp, exchange LIMIT :limit"
_NEWEST_FIRST = "ORDER BY timestamp DESC, exchange DESC LIMIT :limit"
_NO_LIMIT = -1
_MODES = {mode.value: mode for mode in Mode}  # a third of the time that `Mode()` takes
# the first and the last minute of an exchange hold the ends: found by the table's key
_CANDLES = f"""
WITH part AS (
    SELECT
        ({_MS.format("timestamp")} - 1) / :interval AS number,
        exchange,
        max(max_price) AS high,
        min(min_price) AS low,
        sum(tick_count) AS ticks,
        min(timestamp) AS first,
        max(timestamp) AS last
    FROM market_data
    {{where}}
    GROUP BY number, exchange
)
SELECT
    number * :interval,
    opening.open_price,
    high,
    low,
    closing.close_price,
    ticks,
    {_MS.format("opening.open_at")},
    part.exchange,
    {_MS.format("closing.close_at")},
    part.exchange
FROM part
CROSS JOIN market_data AS opening
    ON (opening.mode, opening.exchange, opening.pair_name, opening.timestamp)
    = (:mode, part.exchange, :pair, first)
CROSS JOIN market_data AS closing
    ON (closing.mode, closing.exchange, closing.pair_name, closing.timestamp)
    = (:mode, part.exchange, :pair, last)
"""  # noqa: S608  no value is in it
# minutes one after the other are as far from their number as the first of them
_RUNS = f"""
SELECT exchange, min(end_ms), max(end_ms)
FROM (
    SELECT
        exchange,
        end_ms,
        end_ms - :interval * row_number() OVER (PARTITION BY exchange ORDER BY end_ms) AS run
    FROM (SELECT exchange, {_MS.format("timestamp")} AS end_ms FROM market_data {{where}})
    WHERE end_ms % :interval = 0
)
GROUP BY exchange, run
ORDER BY exchange, run
"""  # noqa: S608  no value is in it
_LATEST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: the text has four digits of year


class BrokenRow(sqlite3.DatabaseError):
    """The table holds what was not written by us."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


T = TypeVar("T")
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
    return _read(selected, _row_of)


def select(
    connection: sqlite3.Connection,
    mode: Mode,
    symbol: str,
    exchange: str | None,
    from_ms: int,
    to_ms: int,
    page: Page = WHOLE,
) -> list[MinuteRow]:
    """Return a pair's rows whose end is in [from_ms, to_ms), by time, then exchange."""
    where, values = _range(mode, symbol, exchange, from_ms, to_ms)
    after = "" if page.after is None else _AFTER
    order = _NEWEST_FIRST if page.newest else _OLDEST_FIRST
    values |= {"after": page.after, "limit": _NO_LIMIT if page.limit is None else page.limit}
    rows = rows_of(connection.execute(f"{SELECT} {where} {after} {order}", values))
    if page.newest:
        rows.reverse()
    return rows


def select_candles(
    connection: sqlite3.Connection,
    mode: Mode,
    symbol: str,
    exchange: str | None,
    from_ms: int,
    to_ms: int,
    interval_ms: int,
) -> list[Candle]:
    """Return each exchange's candles of a pair that open in [from_ms, to_ms)."""
    # rows bear the end of their minute
    where, values = _range(mode, symbol, exchange, from_ms + 1, to_ms + 1)
    values["interval"] = interval_ms
    return _read(connection.execute(_CANDLES.format(where=where), values), Candle._make)


def select_runs(
    connection: sqlite3.Connection,
    mode: Mode,
    symbol: str,
    exchange: str | None,
    from_ms: int,
    to_ms: int,
    interval_ms: int,
) -> list[Run]:
    """Return the runs of a pair's minutes whose end is in [from_ms, to_ms), by exchange."""
    where, values = _range(mode, symbol, exchange, from_ms, to_ms)
    values["interval"] = interval_ms
    return _read(connection.execute(_RUNS.format(where=where), values), Run._make)


def rfc3339(ms: int) -> str:
    """Return a time as text that sorts like it; what four-digit years cannot hold is clamped."""
    minute, rest = divmod(min(max(ms, 0), _LATEST_MS), 60_000)
    return f"{_minute_text(minute)}{rest // 1000:02d}.{rest % 1000:03d}Z"


def _range(
    mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int
) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {
        "mode": mode.value,
        "pair": symbol,
        "first": rfc3339(from_ms),
        "end": rfc3339(to_ms),
    }
    if exchange is None:
        return _OF_PAIR, values
    return f"{_OF_PAIR} {_OF_EXCHANGE}", {**values, "exchange": exchange}


def _read(selected: sqlite3.Cursor, make: Callable[[tuple[Any, ...]], T]) -> list[T]:
    try:
        return [make(_whole(values)) for values in selected]
    except (ValueError, KeyError) as error:
        raise BrokenRow(f"a row of market_data cannot be read: {error}") from error
    except sqlite3.OperationalError as error:
        # text that is no UTF-8 is Python's complaint, not SQLite's: it comes without a code
        if hasattr(error, "sqlite_errorcode"):
            raise
        raise BrokenRow(f"a row of market_data cannot be read: {error}") from error


def _whole(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if None in values:
        raise ValueError(f"times must be RFC 3339 text, the others not null, was {values!r}")
    return values


def _row_of(values: tuple[Any, ...]) -> MinuteRow:
    return MinuteRow(*(*values[:-1], _MODES[values[-1]]))


@lru_cache(maxsize=1024)
def _minute_text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
