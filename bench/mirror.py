"""What goes to Redis: a flush of all series, against a write for each tick."""

from statistics import median
from time import perf_counter

import redis

from bench.feeder import Script, pair_names
from bench.feeding import EXCHANGES
from bench.report import ratios
from bench.session import Session
from marketflow.adapters.cache.redis_ticks import RedisTickMirror
from marketflow.adapters.clock import SystemClock
from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.messages import Batch, Heard, Origin
from marketflow.application.pipeline.publisher import Publisher
from marketflow.domain.catalog import Catalog
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tools.processes import Processes
from tools.real_servers import RealServers

GROUP = "Redis: every tick of 15 series"
_FLUSHES = 50
_TICKS_EACH = 3_000  # written one by one for comparison
_BURSTS = ((67, "10,000 ticks/s"), (667, "100,000 ticks/s"))  # an exchange's in 100 ms


def run(session: Session) -> None:
    """Measure flushes and single writes in turn, on a real Redis."""
    flushes: dict[str, list[float]] = {name: [] for _, name in _BURSTS}
    rates: list[float] = []
    singles: list[float] = []
    with Processes() as processes:
        servers = RealServers(processes)
        servers.start()
        environ = servers.environ
        port, password = int(environ["MARKETFLOW_REDIS_PORT"]), environ["MARKETFLOW_REDIS_PASSWORD"]
        for number in session.each_round():
            singles.append(_single_writes(redis.Redis(port=port, password=password)))
            session.tell(f"round {number}, ZADD for each tick", singles[-1], "ticks/s")
            for bursts, name in _BURSTS:
                took_s = _flush_s(port, password, bursts // 5)
                flushes[name].append(took_s * 1000)
                session.tell(f"round {number}, flush at {name}", took_s * 1000, "ms")
            rates.append(15 * (_BURSTS[-1][0] // 5 * 5) / took_s)
            processes.wait(0)
    add = session.report.add
    add(GROUP, "a write for each tick", singles, unit="ticks/s")
    add(GROUP, "ours, encoded and sent", rates, unit="ticks/s")
    add(GROUP, "ours / a write for each tick", ratios(rates, singles), at_least=60)
    for name, took in flushes.items():
        most = 5 if name.startswith("10,000 ") else None
        add(GROUP, f"a flush of 15 series at {name}", took, unit="ms", at_most=most)


def _flush_s(port: int, password: str, bursts: int) -> float:
    mirror = RedisTickMirror("127.0.0.1", port, retention_ms=300_000, password=password)
    clock = SystemClock(max_step_ms=60_000)
    publisher = Publisher(
        mirror, clock=clock, flush_interval_ms=100, retention_ms=300_000, max_bytes=64 << 20
    )
    batches = [_batch(number, exchange, bursts) for number, exchange in enumerate(EXCHANGES, 1)]
    took = []
    for _ in range(_FLUSHES):
        for _ in range(5):  # chunks as they come within 100 ms
            for batch in batches:
                publisher.offer(batch)
        began = perf_counter()
        publisher.flush(clock.now())
        took.append(perf_counter() - began)
        if publisher.problem is not None:
            raise RuntimeError(publisher.problem)
    mirror.close()
    return median(took)


def _batch(number: int, exchange: str, bursts: int) -> Batch:
    pairs = pair_names(5)
    now = SystemClock(max_step_ms=60_000).now()
    script = Script(number, pairs)
    chunk = b"".join(script.burst(now.wall_ms) for _ in range(bursts))
    decoder = WireDecoder(Catalog(pairs, EXCHANGES), max_clock_skew_ms=60_000, max_line=65_536)
    heard = Heard(Lane(Origin(Mode.LIVE, exchange, 0)), 0, now.wall_ms, now.mono_ms, chunk)
    return Batch.of(heard, decoder.decode(chunk, now.wall_ms), MinuteRules())


def _single_writes(client: "redis.Redis") -> float:
    client.delete("bench:ticks")
    began = perf_counter()
    for number in range(_TICKS_EACH):
        client.zadd("bench:ticks", {f"{number}:99704.89123456789": number})
    return _TICKS_EACH / (perf_counter() - began)
