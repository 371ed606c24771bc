"""CPU and memory at the real rate, at 100,000 ticks a second, and as rates and pairs grow."""

from time import monotonic

from bench.feeding import Feeder
from bench.service import Service
from bench.session import Session
from bench.stopwatch import median_answer_us
from tools.processes import Processes

LOAD = "CPU and memory, embedded default"
GROWTH = "Growth: CPU per tick, an answer over 5 minutes, memory"
_REAL_RATE = 150
_RATES = (1_000, 10_000, 100_000)
_PAIRS = (5, 50, 500)
_SETTLE_S = 1.0
_MB_PER_SERIES = 10


def load(session: Session) -> None:
    """Measure what the service takes of a core and of memory."""
    for rate, most_cpu, fill_s in ((_REAL_RATE, 1.5, 300.0), (100_000, 30.0, 20.0)):
        cpu, memory = [], []
        with Processes() as processes:
            feeder = Feeder(processes)
            with Service(ports=feeder.ports, pairs=feeder.pairs) as service:
                _begin(processes, feeder, service, rate, fill_s)
                for number in session.each_round():
                    used_s, took_s, ticks = _use(processes, service, 2 * session.seconds)
                    cpu.append(100 * used_s / took_s)
                    memory.append(service.rss_mb())
                    session.tell(f"round {number}, {rate} ticks/s", cpu[-1], "% of a core")
                    session.tell(f"round {number}, ticks taken", ticks / took_s, "ticks/s")
                lost = service.settle(feeder.pause())
            feeder.close()
        what = f"at {rate:,} ticks/s"
        session.report.add(LOAD, f"CPU {what}", cpu, unit="% of a core", at_most=most_cpu)
        limit = 60 if rate == _REAL_RATE else None
        session.report.add(LOAD, f"resident memory {what}", memory, unit="MB", at_most=limit)
        session.report.add(LOAD, f"ticks lost {what}", [lost], at_most=0)


def growth(session: Session) -> None:
    """Measure the nine combinations of rates and pairs."""
    cost: dict[tuple[int, int], list[float]] = {}
    answer: dict[tuple[int, int], list[float]] = {}
    add = session.report.add
    for pairs in _PAIRS:
        for rate in _RATES:
            cost[rate, pairs], answer[rate, pairs], memory = _grown(session, rate, pairs)
            what = f"{rate // 1000}k ticks/s, {pairs} pairs"
            add(GROWTH, f"{what}: CPU per tick", cost[rate, pairs], unit="us")
            add(GROWTH, f"{what}: answer over 5 m", answer[rate, pairs], unit="us")
            most = 60 + _MB_PER_SERIES * 3 * pairs
            add(GROWTH, f"{what}: resident memory", [memory], unit="MB", at_most=most)
    add(GROWTH, "CPU per tick, dearest larger load / smaller", growths(cost), at_most=1.5)
    add(GROWTH, "answer over 5 m, dearest larger load / smaller", growths(answer), at_most=1.5)


def growths(found: dict[tuple[int, int], list[float]]) -> list[float]:
    """Return for each round how much dearer a load is than one it contains, at worst.

    Keys are (rate, pairs); a load contains those of at most its rate and its pairs.
    """
    rounds = len(next(iter(found.values())))
    return [
        max(
            large[i] / small[i]
            for (rate, pairs), large in found.items()
            for (less, fewer), small in found.items()
            if less <= rate and fewer <= pairs and (less, fewer) != (rate, pairs)
        )
        for i in range(rounds)
    ]


def _grown(session: Session, rate: int, pairs: int) -> tuple[list[float], list[float], float]:
    cost, answer = [], []
    with Processes() as processes:
        feeder = Feeder(processes, pairs=pairs)
        with Service(ports=feeder.ports, pairs=feeder.pairs) as service:
            _begin(processes, feeder, service, rate, 2.0)
            for number in session.each_round():
                used_s, _, ticks = _use(processes, service, session.seconds)
                cost.append(used_s / max(1, ticks) * 1e6)
                # without a feed: waiting for the interpreter is measured elsewhere
                service.settle(feeder.pause())
                answer.append(median_answer_us(service.port, "/prices/highest/BTCUSDT?period=5m"))
                feeder.pace(rate)
                what = f"{rate // 1000}k ticks/s, {pairs} pairs, round {number}"
                session.tell(what, cost[-1], "us of CPU a tick")
            memory = service.rss_mb()
            service.settle(feeder.pause())
        feeder.close()
    return cost, answer, memory


def _begin(
    processes: Processes, feeder: Feeder, service: Service, rate: int, fill_s: float
) -> None:
    feeder.wait_for_clients()
    feeder.fill(rate, fill_s)
    service.settle(feeder.pause())
    feeder.pace(rate)
    processes.wait(_SETTLE_S)


def _use(processes: Processes, service: Service, seconds: float) -> tuple[float, float, float]:
    """Return CPU seconds, seconds and ticks; asking for the count is left out of the CPU."""
    first, cpu, began = service.counts()["ticks_aggregated"], service.cpu_s(), monotonic()
    processes.wait(seconds)
    cpu, took_s = service.cpu_s() - cpu, monotonic() - began
    return cpu, took_s, service.counts()["ticks_aggregated"] - first
