"""The embedded store: the table `market_data` in a SQLite file."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from marketflow.adapters.storage import minute_table
from marketflow.adapters.storage.sqlite_file import SqliteFile
from marketflow.application.ports import WHOLE, Page, RefusedRow, Run
from marketflow.domain.candle import Candle
from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode

# broken constraints; numbers and texts that SQLite cannot hold
_REFUSALS = (sqlite3.IntegrityError, OverflowError, UnicodeEncodeError)


class SqliteStore:
    """Minute rows in *path*, opened when first used.

    The file is the user's: a corrupt one is reported, and left as it is.
    """

    backend = "sqlite"

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, "sqlite", prepare=_create)

    def upsert(self, rows: Sequence[MinuteRow]) -> list[RefusedRow]:
        values = [minute_table.values_of(row) for row in rows]
        with self._file.transaction() as connection:
            try:
                connection.executemany(minute_table.UPSERT, values)
            except _REFUSALS:
                # once more one by one: a statement that fails leaves the transaction as it was
                return _upsert_each(connection, rows)
        return []

    def rows(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        page: Page = WHOLE,
    ) -> list[MinuteRow]:
        with self._file.connection() as connection:
            return minute_table.select(connection, mode, symbol, exchange, from_ms, to_ms, page)

    def candles(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Candle]:
        with self._file.connection() as connection:
            return minute_table.select_candles(
                connection, mode, symbol, exchange, from_ms, to_ms, interval_ms
            )

    def runs(
        self,
        mode: Mode,
        symbol: str,
        exchange: str | None,
        from_ms: int,
        to_ms: int,
        interval_ms: int,
    ) -> list[Run]:
        with self._file.connection() as connection:
            return minute_table.select_runs(
                connection, mode, symbol, exchange, from_ms, to_ms, interval_ms
            )

    def ping(self) -> None:
        with self._file.transaction() as connection:
            _create(connection)

    def close(self) -> None:
        self._file.close()


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(minute_table.TABLE)
    connection.execute(minute_table.BY_PAIR)


def _upsert_each(connection: sqlite3.Connection, rows: Sequence[MinuteRow]) -> list[RefusedRow]:
    refused = []
    for row in rows:
        try:
            connection.execute(minute_table.UPSERT, minute_table.values_of(row))
        except _REFUSALS as error:
            refused.append(RefusedRow(row, str(error)))
    return refused
