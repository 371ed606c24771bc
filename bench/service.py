"""The service as a process of its own: started, asked, looked at, stopped, its rows read."""

import contextlib
import http.client
import json
import os
import re
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import clock_gettime, monotonic
from typing import Any, Self

from bench.command import Command, started
from bench.feeding import EXCHANGES, Ledger
from tools.processes import Processes
from tools.servers import free_port

_MIB = 1024 * 1024
_POLL_S = 0.01
_PATIENCE_S = 60.0
_COUNTER = re.compile(r"^marketflow_(\w+?)(?:_total)?(?:\{.*\})? ([\d.e+-]+)$", re.MULTILINE)
_SUMS = "SELECT exchange, pair_name, sum(tick_count) FROM market_data GROUP BY exchange, pair_name"

Sums = dict[tuple[str, str], int]  # (exchange, pair) -> ticks


class Service:
    """`marketflow.py` with a configuration of its own, in a directory that goes with it.

    Everything else starts it with its defaults; *environ* is added for real servers.
    """

    def __init__(
        self,
        *,
        ports: Sequence[int],
        pairs: Sequence[str],
        environ: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._processes = Processes()
        self._processes.__enter__()
        self.directory = self._processes.new_directory()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environ = {"MARKETFLOW_ASSETS_ENABLED": "false", **(environ or {})}
        sources = [
            {"name": name, "kind": "tcp", "host": "127.0.0.1", "port": port}
            for name, port in zip(EXCHANGES, ports, strict=True)
        ]
        configuration = {
            "mode": "live",
            "data_dir": str(self.directory / "data"),
            "symbols": list(pairs),
            "sources": {"live": sources},
            "http": {"port": self.port},
            # the past of a whole window may be sent, which an exchange would not
            "aggregation": {"late_intervals": 10},
            **(settings or {}),
        }
        self._config = self.directory / "config.json"
        self._config.write_text(json.dumps(configuration), encoding="utf-8")
        self.log = self.directory / "log"
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def __enter__(self) -> Self:
        arguments = [sys.executable, "marketflow.py", "--config", str(self._config)]
        command = Command(arguments, log=self.log, port=self.port, environ=self._environ)
        try:
            self.process = started(self._processes, "marketflow", command).process
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        self._cpu_clock = ~self.process.pid << 3 | 2  # what clock_getcpuclockid(3) returns
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036  passed on as they are
        self._connection.close()
        self._processes.__exit__(*error)

    def ask(self, target: str) -> tuple[int, bytes]:
        """Return status and body of one answer, on a connection that is kept."""
        self._connection.request("GET", target)
        response = self._connection.getresponse()
        return response.status, response.read()

    def wait_for_prices(self) -> None:
        """Wait until every pair has one."""
        self.wait_until(lambda: self.ask("/prices/latest/BTCUSDT")[0] == 200)

    def wait_until(self, ready: Any) -> None:
        """Wait for *ready()*.

        Raises:
            RuntimeError: it was not within a minute.
        """
        deadline = monotonic() + _PATIENCE_S
        while not ready():
            if monotonic() > deadline:
                raise RuntimeError("the service must get ready within a minute, was not")
            self._processes.wait(_POLL_S)

    def wait(self, seconds: float) -> None:
        """Wait; a signal ends it."""
        self._processes.wait(seconds)

    def counts(self) -> dict[str, float]:
        """Return the service's counters, summed over their labels."""
        return summed(self.ask("/metrics")[1].decode())

    def health(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.ask("/health")[1])
        return report

    def cpu_s(self) -> float:
        """Return the processor time used so far."""
        return clock_gettime(self._cpu_clock)

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / _MIB

    def settle(self, ledger: Ledger) -> float:
        """Wait until all that was sent is accounted for; return the ticks that are lost by count.

        Rejected and late ones are lost too: what the feeder sends is neither.
        """
        deadline = monotonic() + _PATIENCE_S
        while monotonic() < deadline:
            counts = self.counts()
            done = counts["ticks_aggregated"] + counts.get("ticks_rejected", 0)
            if done + counts["ticks_late"] >= ledger.ticks:
                break
            self._processes.wait(_POLL_S)
        return ledger.ticks - counts["ticks_aggregated"] + ledger.cut_off

    def stop(self) -> int:
        """Stop it as an operator does; the exit status."""
        self._connection.close()
        self.process.terminate()
        while self.process.poll() is None:
            self._processes.wait(_POLL_S)
        return self.process.returncode or 0


def summed(metrics: str) -> dict[str, float]:
    """Return the values of a metrics page by name, without prefix and `_total`, labels summed."""
    found: dict[str, float] = {}
    for name, value in _COUNTER.findall(metrics):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def stored(service: Service) -> Sums:
    """Return the ticks in the embedded store of a stopped *service*."""
    path = service.directory / "data" / "marketflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {(exchange, pair): ticks for exchange, pair, ticks in database.execute(_SUMS)}


def stored_in_postgres(environ: Mapping[str, str]) -> Sums:
    """Return the ticks in the PostgreSQL that the service was told of by *environ*."""
    import psycopg2  # noqa: PLC0415  only the real servers need it

    connection = psycopg2.connect(
        host=environ["MARKETFLOW_POSTGRES_HOST"],
        port=environ["MARKETFLOW_POSTGRES_PORT"],
        user=environ["MARKETFLOW_POSTGRES_USER"],
        password=environ["MARKETFLOW_POSTGRES_PASSWORD"],
        database=environ["MARKETFLOW_POSTGRES_DATABASE"],
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(_SUMS)
        return {(exchange, pair): int(ticks) for exchange, pair, ticks in cursor.fetchall()}


def missing(sums: Sums, ledger: Ledger, pairs: Sequence[str]) -> int:
    """Return how many ticks the rows lack, or have too many, summed over all series."""
    wanted = {
        (exchange, pair): bursts
        for exchange, bursts in zip(EXCHANGES, ledger.bursts, strict=True)
        for pair in pairs
        if bursts
    }
    return sum(abs(sums.get(key, 0) - wanted.get(key, 0)) for key in {*sums, *wanted})
