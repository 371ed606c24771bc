"""Ingest as fast as three sockets are read: journal, windows, minutes, Redis, PostgreSQL."""

import contextlib
import sys
from time import monotonic

import psycopg2
import redis

from bench.command import Command, started
from bench.feeding import Feeder
from bench.itemwise import DEFAULT_INTERVAL, rate_of
from bench.report import ratios
from bench.service import Service, missing, stored_in_postgres
from bench.session import Session
from tools.processes import Processes
from tools.real_servers import RealServers

GROUP = "Ingest end to end, three sockets as fast as they are read; journal, Redis, PostgreSQL"
_WARM_UP_S = 1.0
_KEEP_UP_S = 20.0  # for the mirror, once nothing is sent any more


def run(session: Session) -> None:
    """Measure the service and the item-per-line pipeline in turn."""
    ours: list[tuple[float, float]] = []
    lost: list[float] = []
    unmirrored: list[float] = []
    theirs: list[float] = []
    unhurried: list[float] = []
    with Processes() as processes:
        servers = RealServers(processes)
        servers.start()
        environ = {k: v for k, v in servers.environ.items() if k != "MARKETFLOW_DATA_DIR"}
        for number in session.each_round():
            theirs.append(_item_per_line(session.seconds))
            session.tell(f"round {number}, item per line", theirs[-1], "ticks/s")
            unhurried.append(_item_per_line(session.seconds, DEFAULT_INTERVAL))
            flood = _Flood(environ)
            ours.append(flood.run(session.seconds))
            lost.append(flood.lost)
            unmirrored.append(flood.unmirrored)
            session.tell(f"round {number}, ours", ours[-1][0], "ticks/s")
            session.tell(f"round {number}, not in Redis", unmirrored[-1], "ticks")
    rates = [rate for rate, _ in ours]
    add = session.report.add
    add(GROUP, "item per line, json.loads, 15 workers", theirs, unit="ticks/s")
    add(GROUP, "the same, default switch interval", unhurried, unit="ticks/s")
    add(GROUP, "ours", rates, unit="ticks/s", at_least=1_000_000)
    add(GROUP, "ours / item per line", ratios(rates, theirs), at_least=25)
    add(GROUP, "ours, CPU per tick", [cpu for _, cpu in ours], unit="us")
    add(GROUP, "ticks lost, by count and in rows", lost, at_most=0)
    add(GROUP, "ticks that Redis does not hold", unmirrored, at_most=0)


class _Flood:
    """One flood of a fresh service over real servers, and what became of it."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._redis = redis.Redis(
            port=int(environ["MARKETFLOW_REDIS_PORT"]),
            password=environ["MARKETFLOW_REDIS_PASSWORD"],
        )
        self.lost = 0.0
        self.unmirrored = 0.0

    def run(self, seconds: float) -> tuple[float, float]:
        """Return ticks a second, and CPU microseconds a tick."""
        _forget_rows(self._environ)  # of two floods within a minute one row would be left
        self._redis.flushall()
        with Processes() as processes:
            feeder = Feeder(processes)
            with Service(ports=feeder.ports, pairs=feeder.pairs, environ=self._environ) as service:
                feeder.wait_for_clients()
                feeder.blast()
                service.wait_for_prices()
                processes.wait(_WARM_UP_S)
                began, first, cpu = monotonic(), service.counts(), service.cpu_s()
                processes.wait(seconds)
                ended, last = monotonic(), service.counts()
                cpu = service.cpu_s() - cpu
                ledger = feeder.pause()
                self.lost = service.settle(ledger)
                self._wait_for_mirror(processes)
                service.stop()
            feeder.close()
        self.unmirrored = ledger.ticks - self._mirrored()
        self.lost += missing(stored_in_postgres(self._environ), ledger, feeder.pairs)
        ticks = last["ticks_aggregated"] - first["ticks_aggregated"]
        return ticks / (ended - began), cpu / ticks * 1e6

    def _wait_for_mirror(self, processes: Processes) -> None:
        deadline, before = monotonic() + _KEEP_UP_S, -1
        while monotonic() < deadline:
            length = sum(self._redis.xlen(key) for key in self._streams())
            if length == before:
                return
            before = length
            processes.wait(0.5)

    def _mirrored(self) -> int:
        ticks = 0
        for key in self._streams():
            start = "-"
            while entries := self._redis.xrange(key, start, "+", count=20):
                ticks += sum(fields[b"p"].count(b",") + 1 for _, fields in entries)
                start = f"({entries[-1][0].decode()}"
        return ticks

    def _streams(self) -> list[bytes]:
        return list(self._redis.scan_iter("marketflow:live:ticks:*"))


def _forget_rows(environ: dict[str, str]) -> None:
    connection = psycopg2.connect(
        host=environ["MARKETFLOW_POSTGRES_HOST"],
        port=environ["MARKETFLOW_POSTGRES_PORT"],
        user=environ["MARKETFLOW_POSTGRES_USER"],
        password=environ["MARKETFLOW_POSTGRES_PASSWORD"],
        database=environ["MARKETFLOW_POSTGRES_DATABASE"],
    )
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS market_data")


def _item_per_line(seconds: float, *options: str) -> float:
    with Processes() as processes:
        feeder = Feeder(processes)
        log = processes.new_directory() / "counts"
        arguments = [sys.executable, "-m", "bench.itemwise", *options, *map(str, feeder.ports)]
        started(processes, "itemwise", Command(arguments, log=log))
        feeder.wait_for_clients()
        feeder.blast()
        processes.wait(_WARM_UP_S + seconds)
        feeder.close()
        return rate_of(log.read_text(encoding="utf-8"), skip_s=_WARM_UP_S)
