"""The table `market_data` in PostgreSQL."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from marketflow.adapters.storage import postgres_questions
from marketflow.adapters.storage.postgres_connection import PostgresConnection
from marketflow.adapters.storage.postgres_pool import PostgresPool
from marketflow.adapters.storage.postgres_schema import ensure_table
from marketflow.adapters.storage.postgres_server import PostgresServer, ValuesRefused
from marketflow.application.ports import WHOLE, Page, RefusedRow, Run
from marketflow.domain.candle import Candle
from marketflow.domain.minute import MinuteKey, MinuteRow
from marketflow.domain.mode import Mode

# one message, one answer: no moment in which a silent network leaves a transaction open
_TRANSACTION = "BEGIN; {statements}; COMMIT"
_ROLLBACK = "ROLLBACK"
_UPSERT = """
INSERT INTO market_data (
    pair_name, exchange, timestamp, average_price, min_price, max_price, open_price, close_price,
    open_at, close_at, min_at, max_at, tick_count, mode
)
SELECT
    pair_name,
    exchange,
    timestamptz 'epoch' + timestamp_ms * interval '1 millisecond',
    average_price,
    min_price,
    max_price,
    open_price,
    close_price,
    timestamptz 'epoch' + open_at_ms * interval '1 millisecond',
    timestamptz 'epoch' + close_at_ms * interval '1 millisecond',
    timestamptz 'epoch' + min_at_ms * interval '1 millisecond',
    timestamptz 'epoch' + max_at_ms * interval '1 millisecond',
    tick_count,
    mode
FROM unnest(
    %s::text[], %s::text[], %s::bigint[], %s::float8[], %s::float8[], %s::float8[], %s::float8[],
    %s::float8[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[]
) AS incoming (
    pair_name, exchange, timestamp_ms, average_price, min_price, max_price, open_price,
    close_price, open_at_ms, close_at_ms, min_at_ms, max_at_ms, tick_count, mode
)
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
_ROWS_AT_ONCE = 500
_NEVER = -1


class PostgresStore:
    """Minute rows in PostgreSQL; *schema* is what creates the table where it is missing.

    No call waits longer for the server than the timeouts say, and no message holds the password.
    """

    backend = "postgres"

    def __init__(  # noqa: PLR0913  a setting each
        self,
        *,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        sslmode: str,
        connect_timeout_s: float,
        statement_timeout_s: float,
        pool_size: int,
        schema: str,
    ) -> None:
        server = PostgresServer(
            host=host,
            port=port,
            user=user,
            password=password,
            database=database,
            sslmode=sslmode,
            connect_timeout_s=connect_timeout_s,
            statement_timeout_s=statement_timeout_s,
        )
        self._pool = PostgresPool(server, pool_size)
        self._schema = schema
        self._checked_generation = _NEVER

    def upsert(self, rows: Sequence[MinuteRow]) -> list[RefusedRow]:
        refused = []
        pieces = [rows[at : at + _ROWS_AT_ONCE] for at in range(0, len(rows), _ROWS_AT_ONCE)]
        pieces.reverse()
        while pieces:
            piece = pieces.pop()
            try:
                self._write(piece)
            except ValuesRefused as error:
                if len(piece) == 1:
                    refused.append(RefusedRow(piece[0], error.reason))
                else:
                    half = len(piece) // 2
                    pieces += [piece[half:], piece[:half]]
        return refused

    def rows(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        page: Page = WHOLE,
    ) -> list[MinuteRow]:
        pair = postgres_questions.pair_in(mode, symbol, exchange, from_ms, to_ms)
        found = self._read(*postgres_questions.rows(pair, page))
        rows = [MinuteRow(*(*row, mode)) for row in found]
        if page.newest:
            rows.reverse()
        return rows

    def candles(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Candle]:
        # rows bear the end of their minute
        pair = postgres_questions.pair_in(mode, symbol, exchange, from_ms + 1, to_ms + 1)
        found = self._read(*postgres_questions.candles(pair, interval_ms))
        return [Candle(*candle) for candle in found]

    def runs(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Run]:
        pair = postgres_questions.pair_in(mode, symbol, exchange, from_ms, to_ms)
        found = self._read(*postgres_questions.runs(pair, interval_ms))
        return [Run(*run) for run in found]

    def ping(self) -> None:
        self._checked_generation = _NEVER
        # a write of nothing fails wherever a write would: locks, rights, a read-only server
        self._write([])

    def close(self) -> None:
        self._pool.close()

    def _write(self, rows: Sequence[MinuteRow]) -> None:
        waves = list(_waves(rows)) or [[]]
        statements = _TRANSACTION.format(statements=";".join([_UPSERT] * len(waves)))
        values = [value for wave in waves for value in _arrays(wave)]

        def write(connection: PostgresConnection) -> None:
            self._check(connection)
            try:
                connection.execute(statements, values)
            except ValuesRefused:
                connection.execute(_ROLLBACK)
                raise

        self._pool.run(write)

    def _check(self, connection: PostgresConnection) -> None:
        # after every failure: the server may have come back with another table, or none
        if connection.generation != self._checked_generation:
            ensure_table(connection, self._schema)
            self._checked_generation = connection.generation

    def _read(self, statement: str, values: dict[str, object]) -> list[tuple[Any, ...]]:
        def read(connection: PostgresConnection) -> list[tuple[Any, ...]]:
            self._check(connection)
            return connection.execute(statement, values)

        found = self._pool.run(read)
        for row in found:
            if None in row:
                reason = f"a row of market_data cannot be read: no value may be null, was {row!r}"
                raise self._pool.server.unavailable(reason)
        return found


def _waves(rows: Iterable[MinuteRow]) -> Iterator[list[MinuteRow]]:
    """Split *rows* so that no statement meets a key twice, which PostgreSQL refuses."""
    versions: dict[MinuteKey, list[MinuteRow]] = {}
    for row in rows:
        versions.setdefault(row.key, []).append(row)
    # in the same order everywhere, or two instances might lock each other out
    keys = sorted(versions)
    wave = 0
    while keys:
        yield [versions[key][wave] for key in keys]
        wave += 1
        keys = [key for key in keys if len(versions[key]) > wave]


def _arrays(rows: Sequence[MinuteRow]) -> list[object]:
    """Return the columns of *rows* as array literals: bound in half the time that lists take."""
    return [
        _literal(_quoted(row.pair_name) for row in rows),
        _literal(_quoted(row.exchange) for row in rows),
        _literal(repr(row.timestamp_ms) for row in rows),
        _literal(repr(row.average_price) for row in rows),
        _literal(repr(row.min_price) for row in rows),
        _literal(repr(row.max_price) for row in rows),
        _literal(repr(row.open_price) for row in rows),
        _literal(repr(row.close_price) for row in rows),
        _literal(repr(row.open_at_ms) for row in rows),
        _literal(repr(row.close_at_ms) for row in rows),
        _literal(repr(row.min_at_ms) for row in rows),
        _literal(repr(row.max_at_ms) for row in rows),
        _literal(repr(row.tick_count) for row in rows),
        _literal(row.mode.value for row in rows),
    ]


def _literal(elements: Iterable[str]) -> str:
    return "{" + ",".join(elements) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
