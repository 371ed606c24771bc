"""`make soak`: the service at the real rate for a while, and whether everything is flat at the end.

Three fake exchanges send 50 lines a second each and quote 10,000 assets. Every five seconds the
service is asked forty questions and its process is looked at. After a warm-up (a fifth of the time,
six minutes at most: then the five-minute windows are full) the first quarter of the rest is
compared with the last.
"""

import argparse
import http.client
import json
import os
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from time import clock_gettime, monotonic, perf_counter, time
from typing import Any, NamedTuple

from bench.tiers import Punctuality, punctuality
from tools.processes import Interrupted, Processes, Program

EXCHANGES = ("exchange1", "exchange2", "exchange3")
PAIRS = ("BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT")
EVERY_S = 5.0
PROGRESS_LINES = 24
WARM_UP_S = 360.0
MAX_GROWTH_MB = 3.0  # between the medians of the quarters; a leak would grow with the hours
MIB = 1024 * 1024
FIRST_LAST_ROWS = "SELECT min(timestamp), max(timestamp), count(*) FROM market_data"
FEWEST_TICKS = "SELECT min(tick_count) FROM market_data WHERE timestamp > ? AND timestamp < ?"
QUESTIONS = [
    f"/prices/{what}/{place}{pair}{period}"
    for pair in PAIRS
    for place in ("", "exchange2/")
    for what, period in (
        ("latest", ""),
        ("highest", "?period=5m"),
        ("lowest", "?period=30s"),
        ("average", "?period=1m"),
    )
]


@dataclass(frozen=True)
class Sample:
    """The service at one moment; *at* is monotonic seconds."""

    at: float
    rss_mb: float
    cpu_s: float  # used since the start, answering our questions left out
    threads: int
    descriptors: int
    answers_ms: list[float]
    feeds: list[dict[str, Any]]
    problems: list[str]

    def total(self, *counters: str) -> int:
        return sum(feed[counter] for feed in self.feeds for counter in counters)


class Observer:
    """Looks at one process, and asks it over one kept-alive connection."""

    def __init__(self, pid: int, port: int) -> None:
        self._process = Path(f"/proc/{pid}")
        self._cpu_clock = ~pid << 3 | 2  # what clock_getcpuclockid(3) returns on Linux
        self._asked_s = 0.0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._questions: Iterator[str] = cycle(QUESTIONS)

    def close(self) -> None:
        self._connection.close()

    def sample(self) -> Sample:
        at, cpu_s = monotonic(), clock_gettime(self._cpu_clock) - self._asked_s
        answers_ms = []
        for _ in QUESTIONS:
            began = perf_counter()
            status, body = self._ask(next(self._questions))
            answers_ms.append((perf_counter() - began) * 1000)
            if status != 200:
                raise RuntimeError(f"status must be 200, was {status}: {body.decode()}")
        health = json.loads(self._ask("/health")[1])
        self._asked_s = clock_gettime(self._cpu_clock) - cpu_s
        pages = int((self._process / "statm").read_text().split()[1])
        return Sample(
            at=at,
            rss_mb=pages * os.sysconf("SC_PAGESIZE") / MIB,
            cpu_s=cpu_s,
            threads=sum(1 for _ in (self._process / "task").iterdir()),
            descriptors=sum(1 for _ in (self._process / "fd").iterdir()),
            answers_ms=answers_ms,
            feeds=list(health["feeds"].values()),
            problems=health["problems"],
        )

    def is_ready(self) -> bool:
        try:
            return bool(json.loads(self._ask("/health")[1])["status"] == "ok")
        except OSError:
            self._connection.close()
            return False

    def _ask(self, target: str) -> tuple[int, bytes]:
        self._connection.request("GET", target)
        response = self._connection.getresponse()
        return response.status, response.read()


class Rows(NamedTuple):
    """What the stored table holds after the stop."""

    rows: int
    minutes: int
    fewest_ticks: int  # in a minute that was neither the first nor the last

    @property
    def wanted(self) -> int:
        return len(EXCHANGES) * len(PAIRS) * self.minutes

    @classmethod
    def read(cls, path: Path) -> "Rows":
        with closing(sqlite3.connect(path)) as database:
            first, last, rows = database.execute(FIRST_LAST_ROWS).fetchone()
            (fewest,) = database.execute(FEWEST_TICKS, (first, last)).fetchone()
        seconds = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
        return cls(rows, round(seconds / 60) + 1, fewest or 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    seconds = parser.parse_args().minutes * 60
    if seconds < 60:
        parser.error("--minutes must be at least 1")
    with tempfile.TemporaryDirectory(prefix="marketflow-soak-") as directory:
        started_s = int(time())
        try:
            samples, status = soak(seconds, Path(directory))
        except Interrupted:
            print("interrupted", file=sys.stderr)
            return 1
        except (OSError, http.client.HTTPException) as error:
            print(f"the service does not answer: {error!r}", file=sys.stderr)
            return 1
        database = Path(directory) / "marketflow.db"
        rows = Rows.read(database)
        tiers = punctuality(database, started_s, int(time()))
    return report(samples, rows, tiers, status)


def soak(seconds: float, data_dir: Path) -> tuple[list[Sample], int | None]:
    """Return the samples, and the status the service ended with."""
    with Processes() as processes, ExitStack() as stack:
        *ports, http_port = free_ports(2 * len(EXCHANGES) + 1)
        ticks, quotes = ports[: len(EXCHANGES)], ports[len(EXCHANGES) :]
        for name, port, quoting in zip(EXCHANGES, ticks, quotes, strict=True):
            where = ["--port", str(port), "--http-port", str(quoting)]
            exchange = processes.start(name, ["-m", "fakeexchange", *where])
            if not processes.wait_until_listening(exchange, port):
                raise SystemExit(f"{name} could not start")
        service = start_service(processes, ticks, quotes, http_port, data_dir)
        observer = stack.enter_context(closing(Observer(service.process.pid, http_port)))
        while not observer.is_ready():
            if service.ended:
                raise SystemExit("marketflow could not start")
            processes.wait(0.1)
        samples = list(observe(processes, observer, seconds))
    return samples, service.process.returncode


def start_service(
    processes: Processes,
    ticks: Sequence[int],
    quotes: Sequence[int],
    http_port: int,
    data_dir: Path,
) -> Program:
    sources = [
        {"name": name, "kind": "tcp", "host": "127.0.0.1", "port": port}
        for name, port in zip(EXCHANGES, ticks, strict=True)
    ]
    tickers = [
        {"name": name, "url": f"http://127.0.0.1:{port}/mock/ticker/{{symbol}}"}
        for name, port in zip(EXCHANGES, quotes, strict=True)
    ]
    environ = {
        "MARKETFLOW_SOURCES_LIVE": json.dumps(sources),
        "MARKETFLOW_SOURCES_HTTP_LIVE": json.dumps(tickers),
    }
    where = ["--port", str(http_port), "--mode", "live", "--data-dir", str(data_dir)]
    return processes.start("marketflow", ["marketflow.py", *where], environ)


def observe(processes: Processes, observer: Observer, seconds: float) -> Iterator[Sample]:
    began = monotonic()
    count = int(seconds / EVERY_S) + 1
    each = max(1, count // PROGRESS_LINES)
    before: Sample | None = None
    for number in range(count):
        processes.wait(max(0.0, began + number * EVERY_S - monotonic()))
        sample = observer.sample()
        if number % each == 0:
            print(progress(sample, before, sample.at - began), flush=True)
            before = sample
        yield sample


def progress(sample: Sample, before: Sample | None, at_s: float) -> str:
    return (
        f"{at_s / 60:6.1f} min  rss {sample.rss_mb:5.1f} MB  cpu {cpu(before, sample):4.2f} %"
        f"  threads {sample.threads}  descriptors {sample.descriptors}"
        f"  reconnects {sample.total('reconnects')}  worst answer {max(sample.answers_ms):.1f} ms"
        f"{'  ' if sample.problems else ''}{'; '.join(sample.problems)}"
    )


def report(samples: list[Sample], rows: Rows, tiers: list[Punctuality], status: int | None) -> int:
    """Print the table and what is wrong; the exit status."""
    warm_at = samples[0].at + min(WARM_UP_S, (samples[-1].at - samples[0].at) / 5)
    warm = [sample for sample in samples if sample.at >= warm_at]
    quarter = len(warm) // 4
    first, last = warm[:quarter], warm[-quarter:]
    table: list[tuple[str, Callable[[list[Sample]], str]]] = [
        ("resident memory, MB", lambda some: f"{median_of(some, 'rss_mb'):.1f}"),
        ("CPU, % of a core", lambda some: f"{cpu(some[0], some[-1]):.2f}"),
        ("threads", lambda some: f"{median_of(some, 'threads'):g}"),
        ("descriptors", lambda some: f"{median_of(some, 'descriptors'):g}"),
        ("answer, median, ms", lambda some: f"{median(answers(some)):.2f}"),
        ("answer, 99 of 100, ms", lambda some: f"{quantiles(answers(some), n=100)[-1]:.2f}"),
    ]
    print(f"\n{'':26}{'first quarter':>15}{'last quarter':>15}")
    for name, text in table:
        print(f"{name:26}{text(first):>15}{text(last):>15}")
    print(f"{'rows stored':26}{rows.rows:>15} of {rows.wanted}")
    print(f"{'ticks in a minute, fewest':26}{rows.fewest_ticks:>15} of 600")
    for tier in tiers:
        pause = f"{tier.tier} assets, longest pause"
        print(f"{pause:26}{tier.longest_pause_s:>13} s of {tier.every_s} s ({tier.assets} assets)")
    print()
    wrong = [*faults_of(first, last), *losses_of(samples[-1], rows, status)]
    wrong += [f"assets must be refreshed in time, were not: {t}" for t in tiers if not t.kept]
    print("\n".join(wrong) or "flat: nothing grew, nothing was lost")
    return 1 if wrong else 0


def faults_of(first: list[Sample], last: list[Sample]) -> Iterator[str]:
    growth = median_of(last, "rss_mb") - median_of(first, "rss_mb")
    if growth > MAX_GROWTH_MB:
        yield f"memory must grow by at most {MAX_GROWTH_MB:g} MB, was {growth:.1f}"
    for name in ("threads", "descriptors"):
        before, after = median_of(first, name), median_of(last, name)
        if before != after:
            yield f"{name} must be as many at the end, were {before:g} and {after:g}"


def losses_of(last: Sample, rows: Rows, status: int | None) -> Iterator[str]:
    for counter in ("rejected", "late", "reconnects"):
        if last.total(counter):
            yield f"{counter} must be 0, was {last.total(counter)}"
    if rows.rows != rows.wanted:
        yield f"rows must be {rows.wanted}, were {rows.rows}"
    if status != 0:
        yield f"the service's exit status must be 0, was {status}"


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def cpu(first: Sample | None, last: Sample) -> float:
    if first is None:
        return 0.0
    return 100 * (last.cpu_s - first.cpu_s) / (last.at - first.at)


def median_of(samples: list[Sample], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


def answers(samples: list[Sample]) -> list[float]:
    return [answer for sample in samples for answer in sample.answers_ms]


if __name__ == "__main__":
    sys.exit(main())
