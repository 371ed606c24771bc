"""HTTP while 10,000 ticks a second arrive, and while as many arrive as are read."""

from bench import wrk
from bench.feeding import Feeder, Ledger
from bench.references import start_uvicorn
from bench.report import ratios
from bench.service import Service, missing, stored
from bench.session import Session
from tools.processes import Processes

FED = "HTTP under 10,000 ticks/s: latest, highest, lowest, average; 5 pairs, 8 periods"
FLOODED = "HTTP while the feeder blasts"
_RATE = 10_000
_FILL_S = 300.0  # the whole window
# 60 MB of process, 10 MB a series, and three sources' chunks on their way, decoded
_MOST_MB = 60 + 10 * 15 + 150


def fed(session: Session) -> None:
    """Measure a mix of questions under a feed, beside an idle uvicorn."""
    ours, theirs = [], []
    with Processes() as processes:
        uvicorn = start_uvicorn(processes)
        feeder = Feeder(processes)
        with Service(ports=feeder.ports, pairs=feeder.pairs) as service:
            feeder.wait_for_clients()
            feeder.fill(_RATE, _FILL_S)
            service.settle(feeder.pause())
            for number in session.each_round():
                feeder.pause()
                theirs.append(wrk.run(uvicorn, connections=64, seconds=session.seconds))
                session.tell(f"round {number}, idle uvicorn", theirs[-1].rate, "answers/s")
                feeder.pace(_RATE)
                ours.append(_ask(service, 64, session.seconds))
                session.tell(f"round {number}, mix", ours[-1].rate, "answers/s")
            lost = service.settle(feeder.pause())
        feeder.close()
    rates = [run.rate for run in ours]
    add = session.report.add
    add(FED, "uvicorn idle, c=64", [run.rate for run in theirs], unit="answers/s")
    add(FED, "ours, c=64", rates, unit="answers/s")
    quotients = ratios(rates, [run.rate for run in theirs])
    add(FED, "ours / idle uvicorn, c=64", quotients, at_least=1.3)
    add(FED, "ours, c=64, p50", [run.p50_ms for run in ours], unit="ms")
    add(FED, "ours, c=64, p99", [run.p99_ms for run in ours], unit="ms", at_most=6)
    add(FED, "ticks lost", [lost], at_most=0)


def flooded(session: Session) -> None:
    """Measure the same mix while the service is sent more than it can take."""
    alone, many, memory = [], [], []
    with Processes() as processes:
        feeder = Feeder(processes)
        with Service(ports=feeder.ports, pairs=feeder.pairs) as service:
            feeder.wait_for_clients()
            feeder.blast()
            service.wait_for_prices()
            for number in session.each_round():
                alone.append(_ask(service, 1, session.seconds))
                session.tell(f"round {number}, c=1, p50", alone[-1].p50_ms, "ms")
                many.append(_ask(service, 64, session.seconds))
                session.tell(f"round {number}, c=64", many[-1].rate, "answers/s")
                memory.append(service.rss_mb())
            ledger = feeder.pause()
            lost = _lost(service, ledger, feeder.pairs)
        feeder.close()
    add = session.report.add
    add(FLOODED, "ours, c=1, p50", [run.p50_ms for run in alone], unit="ms", at_most=2)
    add(FLOODED, "ours, c=1, p99", [run.p99_ms for run in alone], unit="ms")
    add(FLOODED, "ours, c=64", [run.rate for run in many], unit="answers/s", at_least=10_000)
    add(FLOODED, "ours, c=64, p99", [run.p99_ms for run in many], unit="ms")
    add(FLOODED, "ticks sent meanwhile", [ledger.ticks])
    add(FLOODED, "ticks lost, by count and in rows", lost, at_most=0)
    add(FLOODED, "resident memory", memory, unit="MB", at_most=_MOST_MB)


def _ask(service: Service, connections: int, seconds: float) -> wrk.Run:
    return wrk.run(service.url, connections=connections, seconds=seconds, questions="mix")


def _lost(service: Service, ledger: Ledger, pairs: list[str]) -> list[float]:
    by_count = service.settle(ledger)
    service.stop()
    return [by_count, missing(stored(service), ledger, pairs)]
