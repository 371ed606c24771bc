"""After an outage of PostgreSQL: the outbox empties into it, ours against the usual statements."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg2

from bench.report import ratios
from bench.session import Session
from marketflow.adapters.clock import SystemClock
from marketflow.adapters.storage.outbox import SqliteOutbox
from marketflow.adapters.storage.postgres import PostgresStore
from marketflow.domain.minute import MinuteRow
from marketflow.domain.mode import Mode
from tools.processes import ROOT, Processes
from tools.real_servers import RealServers

GROUP = "PostgreSQL: rows of the outbox after an outage"
_ROWS = 10_000
_AT_ONCE = 500
_SLOW_ROWS = 2_000
_COLUMNS = """pair_name, exchange, timestamp, average_price, min_price, max_price, open_price,
close_price, open_at, close_at, min_at, max_at, tick_count, mode"""
_NEW_VALUES = ", ".join(
    f"{column.strip()} = excluded.{column.strip()}" for column in _COLUMNS.split(",")
)
_TIME = "to_timestamp(%s / 1000.0)"
_PLAIN_UPSERT = f"""
INSERT INTO market_data ({_COLUMNS})
VALUES (%s, %s, {_TIME}, %s, %s, %s, %s, %s, {_TIME}, {_TIME}, {_TIME}, {_TIME}, %s, %s)
ON CONFLICT (mode, exchange, pair_name, timestamp) DO UPDATE SET {_NEW_VALUES}
WHERE excluded.tick_count >= market_data.tick_count
"""

Write = Callable[[Sequence[MinuteRow]], object]


def run(session: Session) -> None:
    """Measure each way of writing in turn, into an empty table."""
    found: dict[str, list[float]] = {name: [] for name in ("ours", "many", "one", "drain")}
    with Processes() as processes:
        servers = RealServers(processes)
        servers.start()
        table = _Table(servers.environ)
        with closing(table):
            for number in session.each_round():
                for name, write, count in (
                    ("ours", table.ours, _ROWS),
                    ("many", table.executemany, _ROWS),
                    ("one", table.row_by_row, _SLOW_ROWS),
                ):
                    table.empty()
                    found[name].append(_rate(write, _rows(count)))
                    session.tell(f"round {number}, {name}", found[name][-1], "rows/s")
                    processes.wait(0)
                table.empty()
                found["drain"].append(_drain_rate(processes.new_directory(), table.ours))
                session.tell(f"round {number}, drain", found["drain"][-1], "rows/s")
    add = session.report.add
    add(GROUP, "executemany, 500 rows a transaction", found["many"], unit="rows/s")
    add(GROUP, "row by row", found["one"], unit="rows/s")
    add(GROUP, "ours, 500 rows a transaction", found["ours"], unit="rows/s")
    add(GROUP, "ours / executemany", ratios(found["ours"], found["many"]), at_least=5)
    add(GROUP, "ours, read from and deleted in the outbox", found["drain"], unit="rows/s")


class _Table:
    """The same table, written to in three ways."""

    def __init__(self, environ: dict[str, str]) -> None:
        address: dict[str, Any] = {
            "host": environ["MARKETFLOW_POSTGRES_HOST"],
            "port": int(environ["MARKETFLOW_POSTGRES_PORT"]),
            "user": environ["MARKETFLOW_POSTGRES_USER"],
            "password": environ["MARKETFLOW_POSTGRES_PASSWORD"],
            "database": environ["MARKETFLOW_POSTGRES_DATABASE"],
        }
        self._store = PostgresStore(
            **address,
            sslmode="prefer",
            connect_timeout_s=3,
            statement_timeout_s=10,
            pool_size=1,
            schema=(ROOT / "schema.sql").read_text(encoding="utf-8"),
        )
        self._store.ping()  # creates the table
        self._connection = psycopg2.connect(**address)

    def close(self) -> None:
        self._store.close()
        self._connection.close()

    def empty(self) -> None:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute("TRUNCATE market_data")

    def ours(self, rows: Sequence[MinuteRow]) -> None:
        self._store.upsert(rows)

    def executemany(self, rows: Sequence[MinuteRow]) -> None:
        with self._connection, self._connection.cursor() as cursor:
            cursor.executemany(_PLAIN_UPSERT, [_values(row) for row in rows])

    def row_by_row(self, rows: Sequence[MinuteRow]) -> None:
        for row in rows:
            with self._connection, self._connection.cursor() as cursor:
                cursor.execute(_PLAIN_UPSERT, _values(row))


def _rate(write: Write, rows: Sequence[MinuteRow]) -> float:
    began = perf_counter()
    for at in range(0, len(rows), _AT_ONCE):
        write(rows[at : at + _AT_ONCE])
    return len(rows) / (perf_counter() - began)


def _drain_rate(directory: Path, write: Write) -> float:
    outbox = SqliteOutbox(
        directory / "outbox.db",
        max_age_ms=10**12,
        max_bytes=1 << 30,
        clock=SystemClock(max_step_ms=60_000),
    )
    with closing(outbox):
        outbox.put(_rows(_ROWS))
        began = perf_counter()
        while rows := outbox.oldest(_AT_ONCE):
            write(rows)
            outbox.acknowledge(rows)
        return _ROWS / (perf_counter() - began)


def _rows(count: int) -> list[MinuteRow]:
    pairs = ("BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT")
    return [_row(f"exchange{n % 3 + 1}", pairs[n // 3 % 5], n // 15) for n in range(count)]


def _row(exchange: str, pair: str, minute: int) -> MinuteRow:
    end_ms = 1_746_448_620_000 + minute * 60_000
    low, high, price = 99_700.123456789, 99_900.987654321, 99_800.5 + minute / 7
    times = (end_ms - 59_900, end_ms - 100, end_ms - 31_000, end_ms - 7_000)
    prices = (min(max(price, low), high), low, high, low, high)
    return MinuteRow(pair, exchange, end_ms, *prices, *times, 600, Mode.LIVE)


def _values(row: MinuteRow) -> tuple[object, ...]:
    return (
        row.pair_name,
        row.exchange,
        row.timestamp_ms,
        row.average_price,
        row.min_price,
        row.max_price,
        row.open_price,
        row.close_price,
        row.open_at_ms,
        row.close_at_ms,
        row.min_at_ms,
        row.max_at_ms,
        row.tick_count,
        row.mode.value,
    )
