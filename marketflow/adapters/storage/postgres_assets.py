"""The history of asset prices in PostgreSQL: the table `asset_prices`."""

from collections.abc import Sequence
from typing import Any

from marketflow.adapters.storage.asset_items import ones_that_stay, storable_s
from marketflow.adapters.storage.postgres_connection import PostgresConnection
from marketflow.adapters.storage.postgres_pool import PostgresPool
from marketflow.adapters.storage.postgres_schema import Table, ensure_table
from marketflow.adapters.storage.postgres_server import PostgresServer
from marketflow.domain.asset import HistoryItem
from marketflow.domain.mode import Mode

TABLE = Table(
    "asset_prices",
    {
        "mode": "text",
        "asset": "text",
        "timestamp": "bigint",
        "price": "double precision",
        "updated_at": "bigint",
    },
    ("mode", "asset", "timestamp"),
    filled_with={"mode": "'live'", "updated_at": '"timestamp"'},
)

# times are whole seconds since the epoch, UTC
_SCHEMA = """
CREATE TABLE IF NOT EXISTS asset_prices (
    mode       text             NOT NULL CHECK (mode IN ('live', 'test')),
    asset      text             NOT NULL,
    timestamp  bigint           NOT NULL,
    price      double precision NOT NULL,
    updated_at bigint           NOT NULL,
    PRIMARY KEY (mode, asset, timestamp)
)
"""
_UPSERT = """
INSERT INTO asset_prices (mode, asset, timestamp, price, updated_at)
SELECT %s, asset, timestamp, price, updated_at
FROM unnest(%s::text[], %s::bigint[], %s::float8[], %s::bigint[])
    AS incoming (asset, timestamp, price, updated_at)
ON CONFLICT (mode, asset, timestamp) DO UPDATE SET
    price = excluded.price,
    updated_at = excluded.updated_at
WHERE excluded.updated_at >= asset_prices.updated_at
"""
_NEWEST = """
SELECT timestamp, price, updated_at
FROM asset_prices
WHERE mode = %s AND asset = %s AND timestamp >= %s AND timestamp < %s
ORDER BY timestamp DESC
LIMIT %s
"""
# From asset to asset along the key, as there is no index on the time: it would be as large as
# the key, for a table that is by default never trimmed. Answers where to go on, or nothing at
# the end of the table.
_TRIM = """
WITH RECURSIVE walk (mode, asset, number) AS (
    (
        SELECT mode, asset, 1
        FROM asset_prices
        WHERE (mode, asset) >= (%s, %s)
        ORDER BY mode, asset
        LIMIT 1
    )
    UNION ALL
    SELECT following.mode, following.asset, walk.number + 1
    FROM walk, LATERAL (
        SELECT there.mode, there.asset
        FROM asset_prices AS there
        WHERE (there.mode, there.asset) > (walk.mode, walk.asset)
        ORDER BY there.mode, there.asset
        LIMIT 1
    ) AS following
    WHERE walk.number < %s
),
old AS (
    SELECT walk.number, outdated.place
    FROM walk, LATERAL (
        SELECT here.ctid AS place, here.timestamp
        FROM asset_prices AS here
        WHERE here.mode = walk.mode AND here.asset = walk.asset AND here.timestamp < %s
        ORDER BY here.timestamp
        LIMIT %s
    ) AS outdated
    ORDER BY walk.number, outdated.timestamp
    LIMIT %s
),
deleted AS (
    DELETE FROM asset_prices WHERE ctid = ANY (ARRAY(SELECT place FROM old))
)
SELECT mode, asset
FROM walk
WHERE number = CASE
    WHEN (SELECT count(*) FROM old) = %s THEN (SELECT max(number) FROM old)
    ELSE %s
END
"""
_ROWS_PER_TRIM = 8_000
_ROWS_OF_ONE = 2_000
_ASSETS_PER_TRIM = 500
_BEFORE_ALL = ("", "")
_ITEMS_AT_ONCE = 1_000
_POOL_SIZE = 2  # one writes, one reads
_NEVER = -1


class PostgresAssetHistory:
    """Prices of assets on *server*; the table is created when it is missing.

    No call waits longer for the server than its timeouts say, and no message holds the password.
    """

    backend = "postgres"

    def __init__(self, server: PostgresServer) -> None:
        self._pool = PostgresPool(server, _POOL_SIZE)
        self._checked_generation = _NEVER
        self._trimmed = _BEFORE_ALL  # mode and asset where `trim` goes on

    def append(self, mode: Mode, items: Sequence[HistoryItem]) -> None:
        # one of each key, which a statement must not meet twice; in the same order everywhere,
        # or two instances might lock each other out
        staying = ones_that_stay(items)
        for at in range(0, len(staying), _ITEMS_AT_ONCE):
            self._write(mode, staying[at : at + _ITEMS_AT_ONCE])

    def newest(
        self, mode: Mode, asset: str, from_s: int, to_s: int, limit: int
    ) -> list[HistoryItem]:
        values = (mode.value, asset, storable_s(from_s), storable_s(to_s), limit)
        found = self._run(_NEWEST, values)
        if any(None in row for row in found):
            reason = f"a row of asset_prices of {asset} must have a price and updated_at, was null"
            raise self._pool.server.unavailable(reason)
        return [HistoryItem(asset, *row) for row in found]

    def trim(self, before_s: int) -> None:
        which = (*self._trimmed, _ASSETS_PER_TRIM, storable_s(before_s), _ROWS_OF_ONE)
        where_to_go_on = (_ROWS_PER_TRIM, _ROWS_PER_TRIM, _ASSETS_PER_TRIM)
        ((mode, asset),) = self._run(_TRIM, (*which, *where_to_go_on)) or [_BEFORE_ALL]
        self._trimmed = (mode, asset)

    def ping(self) -> None:
        self._checked_generation = _NEVER
        # a write of nothing fails wherever a write would: locks, rights, a read-only server
        self._write(Mode.LIVE, [])

    def close(self) -> None:
        self._pool.close()

    def _write(self, mode: Mode, items: Sequence[HistoryItem]) -> None:
        columns: list[list[object]] = [list(column) for column in zip(*items, strict=True)]
        self._run(_UPSERT, (mode.value, *(columns or [[], [], [], []])))

    def _run(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        def run(connection: PostgresConnection) -> list[tuple[Any, ...]]:
            # after every failure: the server may have come back with another table, or none
            if connection.generation != self._checked_generation:
                ensure_table(connection, _SCHEMA, TABLE)
                self._checked_generation = connection.generation
            return connection.execute(statement, values)

        return self._pool.run(run)
