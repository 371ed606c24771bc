"""The shape of our tables in PostgreSQL: created when missing, compared when not."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marketflow.adapters.storage.postgres_connection import PostgresConnection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table:
    """A table of ours: the types of its columns by name, as PostgreSQL calls them, and its key.

    *filled_with* says what a row written without a column is best taken for.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    filled_with: Mapping[str, str] = field(default_factory=dict)


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
MARKET_DATA = Table(
    "market_data",
    COLUMNS,
    KEY,
    filled_with={
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
    },
)

_IS_THERE = "SELECT to_regclass(%s) IS NOT NULL"
# several instances may start at once, and IF NOT EXISTS alone does not keep them apart
_CREATE = "BEGIN; SELECT pg_advisory_xact_lock(7227053311234);\n{schema}\n;COMMIT"
_FOUND_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef AND attidentity = ''
FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
_FOUND_KEY = """
SELECT conname, ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)
)
FROM pg_constraint
WHERE conrelid = %s::regclass AND contype = 'p'
"""


def ensure_table(connection: PostgresConnection, schema: str, table: Table = MARKET_DATA) -> None:
    """Run *schema* if *table* is missing; one of another shape is left as it is.

    Raises:
        StorageUnavailable: it has an older shape; says which statements to run.
    """
    ((is_there,),) = connection.execute(_IS_THERE, (table.name,))
    if not is_there:
        connection.execute(_CREATE.format(schema=schema))
        log.info("table created", extra={"table": table.name})
    statements = repairs(connection, table)
    if statements:
        raise connection.server.unavailable(
            f"table {table.name} has an older shape, run: {' '.join(statements)}"
        )


def repairs(connection: PostgresConnection, table: Table) -> list[str]:
    """Return the statements that give *table* its shape of today, in order."""
    found = connection.execute(_FOUND_COLUMNS, (table.name,))
    types = {name: type_ for name, type_, _ in found}
    missing = [name for name in table.columns if name not in types]
    # the rows there are must be filled before a NOT NULL holds, and only after their types fit
    columns = [_added(table, name) for name in missing]
    columns += [_converted(table, name, types[name]) for name in table.columns if name in types]
    fills = [_filled(table, name) for name in missing if name in table.filled_with]
    key = _key_changes(table, connection.execute(_FOUND_KEY, (table.name,)))
    # ours to leave empty: a column that we do not know must not demand a value
    extras = [
        f"ALTER COLUMN {_identifier(name)} DROP NOT NULL"
        for name, _, demands_value in found
        if demands_value and name not in table.columns
    ]
    steps = (columns, fills, key, extras)
    changes = [", ".join(change for change in step if change) for step in steps]
    return [f"ALTER TABLE {table.name} {change};" for change in changes if change]


def _added(table: Table, name: str) -> str:
    not_null = "" if name in table.filled_with else " NOT NULL"
    return f"ADD COLUMN {_identifier(name)} {table.columns[name]}{not_null}"


def _converted(table: Table, name: str, found: str) -> str:
    wanted = table.columns[name]
    if found == wanted:
        return ""
    column = _identifier(name)
    how = f"{column}::{wanted}"
    if found.startswith("timestamp"):
        seconds = f"floor(date_part('epoch', {column}))::{wanted}"
        how = f"{column} AT TIME ZONE 'UTC'" if wanted.startswith("timestamp") else seconds
    return f"ALTER COLUMN {column} TYPE {wanted} USING {how}"


def _filled(table: Table, name: str) -> str:
    fill = f"ALTER COLUMN {name} TYPE {table.columns[name]} USING {table.filled_with[name]}"
    return f"{fill}, ALTER COLUMN {name} SET NOT NULL"


def _key_changes(table: Table, found: list[tuple[Any, ...]]) -> list[str]:
    add = f"ADD PRIMARY KEY ({', '.join(_identifier(name) for name in table.key)})"
    if not found:
        return [add]
    ((constraint, columns),) = found
    if set(columns) == set(table.key):
        return []
    return [f"DROP CONSTRAINT {_identifier(constraint)}", add]


def _identifier(name: str) -> str:
    if re.fullmatch("[a-z_][a-z0-9_]*", name) and name != "timestamp":
        return name
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
