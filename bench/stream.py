"""A thousand subscribers of /stream under a feed: what they cost, and when they see a price."""

import json
import sys
from pathlib import Path
from typing import Any

from bench import wrk
from bench.command import Command
from bench.feeding import Feeder
from bench.report import ratios
from bench.service import Service
from bench.session import Session
from tools.processes import Processes, Program

STREAM = "1,000 subscribers of /stream, 10,000 ticks/s"
_SUBSCRIBERS = 1_000
_STUCK = 10
_RATE = 10_000
_FILL_S = 20.0
_SETTLE_S = 1.0
_POLL_S = 0.05
_ASKERS = 64


def run(session: Session) -> None:
    """Measure the service under a feed without subscribers, then with them."""
    runs: list[dict[str, float]] = []
    with Processes() as processes:
        feeder = Feeder(processes)
        with Service(ports=feeder.ports, pairs=feeder.pairs) as service:
            feeder.wait_for_clients()
            feeder.fill(_RATE, _FILL_S)
            service.settle(feeder.pause())
            feeder.pace(_RATE)
            processes.wait(_SETTLE_S)
            for number in session.each_round():
                found = _round(processes, service, 2 * session.seconds, session.seconds)
                runs.append(found)
                for name, value in found.items():
                    session.tell(f"round {number}, {name}", value)
            lost = service.settle(feeder.pause())
        feeder.close()
    _report(session, runs, lost)


def _round(
    processes: Processes, service: Service, seconds: float, asking_s: float
) -> dict[str, float]:
    alone = _used(processes, service, seconds)
    alone_wrk = wrk.run(
        f"{service.url}/prices/latest/BTCUSDT", connections=_ASKERS, seconds=asking_s
    )
    listeners, log = _listeners(processes, service, seconds + 1, stuck=0)
    processes.wait(_SETTLE_S)
    joined = _used(processes, service, seconds - _SETTLE_S)
    found = _outcome(processes, listeners, log)
    asked, log = _listeners(processes, service, asking_s + 2, stuck=_STUCK)
    joined_wrk = wrk.run(
        f"{service.url}/prices/latest/BTCUSDT", connections=_ASKERS, seconds=asking_s
    )
    _outcome(processes, asked, log)
    poll = max(joined, key=lambda thread: joined[thread] - alone.get(thread, 0.0))
    return {
        "all without": sum(alone.values()),
        "all with": sum(joined.values()),
        "ingest without": sum(alone.values()) - alone.get(poll, 0.0),
        "ingest with": sum(joined.values()) - joined[poll],
        "p99 GET without": alone_wrk.p99_ms,
        "p99 GET with": joined_wrk.p99_ms,
        "rate GET without": alone_wrk.rate,
        "rate GET with": joined_wrk.rate,
        **found,
    }


def _listeners(
    processes: Processes, service: Service, seconds: float, *, stuck: int
) -> tuple[Program, Path]:
    log = processes.new_directory() / "listeners"
    arguments = ["--port", str(service.port), "--count", str(_SUBSCRIBERS)]
    arguments += ["--seconds", str(seconds), "--stuck", str(stuck)]
    command = Command([sys.executable, "-m", "bench.listeners", *arguments], log=log)
    program = processes.start_server("listeners", command)
    processes.wait_until(program, lambda: log.exists() and b"joined" in log.read_bytes())
    return program, log


def _outcome(processes: Processes, program: Program, log: Path) -> dict[str, float]:
    while not program.ended:
        processes.wait(_POLL_S)
    text = log.read_text(encoding="utf-8")
    if program.process.returncode:
        raise RuntimeError(f"the listeners failed: {text[-600:]}")
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def _used(processes: Processes, service: Service, seconds: float) -> dict[str, float]:
    """Return the microseconds of processor time that each thread takes for a tick."""
    first = service.counts()["ticks_aggregated"]
    before = _cpu_ns(service)
    processes.wait(seconds)
    after = _cpu_ns(service)
    ticks = service.counts()["ticks_aggregated"] - first
    return {name: (ns - before.get(name, 0)) / 1000 / ticks for name, ns in after.items()}


def _cpu_ns(service: Service) -> dict[str, int]:
    tasks = Path(f"/proc/{service.process.pid}/task")
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()}


def _report(session: Session, runs: list[dict[str, float]], lost: float) -> None:
    def each(name: str) -> list[float]:
        return [found[name] for found in runs]

    def add(name: str, samples: list[float], **options: Any) -> None:
        session.report.add(STREAM, name, samples, **options)

    add(
        "CPU of ingest, with / without",
        ratios(each("ingest with"), each("ingest without")),
        at_most=1.5,
    )
    add("CPU of everything, with / without", ratios(each("all with"), each("all without")))
    add("CPU of everything with them", each("all with"), unit="us a tick")
    add("oldest price seen by anyone", each("max_ms"), unit="ms", at_most=500)
    add("longest anyone waited for the next", each("longest_gap_ms"), unit="ms")
    add("subscribers that were closed", each("ended"), at_most=0)
    add("p99 of a GET without them, c=64", each("p99 GET without"), unit="ms")
    add("p99 of a GET with them and ten stuck ones, c=64", each("p99 GET with"), unit="ms")
    add("rate of GETs, with / without", ratios(each("rate GET with"), each("rate GET without")))
    add("ticks lost", [lost], at_most=0)
