"""The embedded history of asset prices: the table `asset_prices` in a SQLite file."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from marketflow.adapters.storage.asset_items import storable_s
from marketflow.adapters.storage.sqlite_file import SqliteFile
from marketflow.domain.asset import HistoryItem
from marketflow.domain.mode import Mode

# Times are whole seconds since the epoch, UTC. No index but the key: what is too old stands at
# the beginning of each asset's rows, where `trim` finds it.
_TABLE = """
CREATE TABLE IF NOT EXISTS asset_prices (
    mode       TEXT    NOT NULL CHECK (mode IN ('live', 'test')),
    asset      TEXT    NOT NULL,
    timestamp  INTEGER NOT NULL CHECK (typeof(timestamp) = 'integer'),
    price      REAL    NOT NULL CHECK (typeof(price) = 'real'),
    updated_at INTEGER NOT NULL CHECK (typeof(updated_at) = 'integer'),
    PRIMARY KEY (mode, asset, timestamp)
) WITHOUT ROWID
"""
_SHAPE = (
    "mode TEXT key 1, asset TEXT key 2, timestamp INTEGER key 3, price REAL, updated_at INTEGER"
)
_COLUMNS = "SELECT name, type, pk FROM pragma_table_info('asset_prices') ORDER BY cid"
_UPSERT = """
INSERT INTO asset_prices (mode, asset, timestamp, price, updated_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (mode, asset, timestamp) DO UPDATE SET
    price = excluded.price,
    updated_at = excluded.updated_at
WHERE excluded.updated_at >= asset_prices.updated_at
"""
_NEWEST = """
SELECT timestamp, price, updated_at
FROM asset_prices
WHERE mode = ? AND asset = ? AND timestamp >= ? AND timestamp < ?
ORDER BY timestamp DESC
LIMIT ?
"""
_NEXT_ASSET = """
SELECT mode, asset FROM asset_prices WHERE (mode, asset) > (?, ?) ORDER BY mode, asset LIMIT 1
"""
_OLD_TIMES = """
SELECT timestamp FROM asset_prices
WHERE mode = ? AND asset = ? AND timestamp < ?
ORDER BY timestamp
LIMIT ?
"""
_DELETE_UP_TO = "DELETE FROM asset_prices WHERE mode = ? AND asset = ? AND timestamp <= ?"
_ROWS_PER_TRIM = 8_000
_ASSETS_PER_TRIM = 500
_BEFORE_ALL = ("", "")


class SqliteAssetHistory:
    """Prices of assets in *path*, opened when first used.

    The file is the user's: a corrupt one is reported, and left as it is.
    """

    backend = "sqlite"

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, "sqlite", prepare=_create)
        self._trimmed: tuple[str, str] = _BEFORE_ALL  # mode and asset where `trim` goes on

    def append(self, mode: Mode, items: Sequence[HistoryItem]) -> None:
        with self._file.transaction() as connection:
            connection.executemany(_UPSERT, [(mode.value, *item) for item in items])

    def newest(
        self, mode: Mode, asset: str, from_s: int, to_s: int, limit: int
    ) -> list[HistoryItem]:
        values = (mode.value, asset, storable_s(from_s), storable_s(to_s), limit)
        with self._file.connection() as connection:
            found = connection.execute(_NEWEST, values).fetchall()
        return [HistoryItem(asset, *row) for row in found]

    def trim(self, before_s: int) -> None:
        with self._file.transaction() as connection:
            self._trimmed = _trim(connection, self._trimmed, storable_s(before_s))

    def ping(self) -> None:
        with self._file.transaction() as connection:
            _create(connection)

    def close(self) -> None:
        self._file.close()


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(_TABLE)
    columns = connection.execute(_COLUMNS)
    found = ", ".join(f"{name} {type_}" + f" key {key}" * bool(key) for name, type_, key in columns)
    if found != _SHAPE:
        raise sqlite3.DatabaseError(f"table asset_prices must have {_SHAPE}, was {found}")


def _trim(connection: sqlite3.Connection, after: tuple[str, str], before_s: int) -> tuple[str, str]:
    """Go through the assets from *after* on, and return where to go on; at the end, from the start.

    Cheaper than an index on the time: that would double what each insert writes, and hold as much
    as the table itself.
    """
    rows_left = _ROWS_PER_TRIM
    for _ in range(_ASSETS_PER_TRIM):
        here = connection.execute(_NEXT_ASSET, after).fetchone()
        if here is None:
            return _BEFORE_ALL
        old = connection.execute(_OLD_TIMES, (*here, before_s, rows_left)).fetchall()
        if old:
            connection.execute(_DELETE_UP_TO, (*here, *old[-1]))
            rows_left -= len(old)
            if rows_left == 0:
                return after
        after = here
    return after
