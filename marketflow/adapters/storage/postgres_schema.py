"""The table `market_data` in PostgreSQL: created when missing, compared when not."""

import logging
import re
from typing import Any

from marketflow.adapters.storage.postgres_connection import PostgresConnection

log = logging.getLogger(__name__)

COLUMNS = {
    "pair_name": "text",
    "exchange": "text",
    "timestamp": "timestamp with time zone",
    "average_price": "double precision",
    "min_price": "double precision",
    "max_price": "double precision",
    "open_price": "double precision",
    "close_price": "double precision",
    "open_at": "timestamp with time zone",
    "close_at": "timestamp with time zone",
    "min_at": "timestamp with time zone",
    "max_at": "timestamp with time zone",
    "tick_count": "bigint",
    "mode": "text",
}
KEY = ("mode", "exchange", "pair_name", "timestamp")

_IS_THERE = "SELECT to_regclass('market_data') IS NOT NULL"
# several instances may start at once, and IF NOT EXISTS alone does not keep them apart
_CREATE = "BEGIN; SELECT pg_advisory_xact_lock(7227053311234);\n{schema}\n;COMMIT"
_FOUND_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND attidentity = ''
FROM pg_attribute
WHERE attrelid = 'market_data'::regclass AND attnum > 0 AND NOT attisdropped
"""
_FOUND_KEY = """
SELECT conname, ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)
)
FROM pg_constraint
WHERE conrelid = 'market_data'::regclass AND contype = 'p'
"""
_ALTER = "ALTER TABLE market_data "
# what a row written without the column is best taken for
_FILLED_WITH = {
    "min_price": "average_price",
    "max_price": "average_price",
    "open_price": "average_price",
    "close_price": "average_price",
    "open_at": '"timestamp"',
    "close_at": '"timestamp"',
    "min_at": '"timestamp"',
    "max_at": '"timestamp"',
    "tick_count": "1",
    "mode": "'live'",
}


def ensure_table(connection: PostgresConnection, schema: str) -> None:
    """Run *schema* if the table is missing; a table of another shape is left as it is.

    Raises:
        StorageUnavailable: it has an older shape; says which statements to run.
    """
    ((is_there,),) = connection.execute(_IS_THERE)
    if not is_there:
        connection.execute(_CREATE.format(schema=schema))
        log.info("table created", extra={"table": "market_data"})
    statements = repairs(connection)
    if statements:
        raise connection.server.unavailable(
            f"table market_data has an older shape, run: {' '.join(statements)}"
        )


def repairs(connection: PostgresConnection) -> list[str]:
    """Return the statements that give the table its shape of today, in order."""
    found = connection.execute(_FOUND_COLUMNS)
    types = {name: type_ for name, type_, _ in found}
    missing = [name for name in COLUMNS if name not in types]
    # the rows there are must be filled before a NOT NULL holds, and only after their types fit
    columns = [_added(name) for name in missing]
    columns += [_converted(name, types[name]) for name in COLUMNS if name in types]
    fills = [_filled(name) for name in missing if name in _FILLED_WITH]
    key = _key_changes(connection.execute(_FOUND_KEY))
    # ours to leave empty: a column that we do not know must not demand a value
    extras = [
        f"ALTER COLUMN {_identifier(name)} DROP NOT NULL"
        for name, _, demands_value in found
        if demands_value and name not in COLUMNS
    ]
    steps = (columns, fills, key, extras)
    changes = [", ".join(change for change in step if change) for step in steps]
    return [f"{_ALTER}{change};" for change in changes if change]


def _added(name: str) -> str:
    not_null = "" if name in _FILLED_WITH else " NOT NULL"
    return f"ADD COLUMN {_identifier(name)} {COLUMNS[name]}{not_null}"


def _converted(name: str, found: str) -> str:
    wanted = COLUMNS[name]
    if found == wanted:
        return ""
    column = _identifier(name)
    how = f"{column}::{wanted}"
    if found.startswith("timestamp"):
        how = f"{column} AT TIME ZONE 'UTC'"
    return f"ALTER COLUMN {column} TYPE {wanted} USING {how}"


def _filled(name: str) -> str:
    fill = f"ALTER COLUMN {name} TYPE {COLUMNS[name]} USING {_FILLED_WITH[name]}"
    return f"{fill}, ALTER COLUMN {name} SET NOT NULL"


def _key_changes(found: list[tuple[Any, ...]]) -> list[str]:
    add = f"ADD PRIMARY KEY ({', '.join(_identifier(name) for name in KEY)})"
    if not found:
        return [add]
    ((constraint, columns),) = found
    if set(columns) == set(KEY):
        return []
    return [f"DROP CONSTRAINT {_identifier(constraint)}", add]


def _identifier(name: str) -> str:
    if re.fullmatch("[a-z_][a-z0-9_]*", name) and name != "timestamp":
        return name
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
