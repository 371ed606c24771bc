"""One exchange that sends as fast as it is read beside one that does not; and what idling costs."""

from threading import Event, Thread
from time import monotonic
from typing import Self

import pytest

from tests.end_to_end.feeder import Feeder, line, now_ms
from tests.end_to_end.harness import config_of, until
from tests.end_to_end.ledger import SYMBOLS, check_average, check_rows

pytestmark = pytest.mark.slow

BURSTS = 300  # in each piece of the flood


class Flood:
    """Sends pieces of many ticks until told to stop; counts instead of keeping a ledger."""

    def __init__(self, feeder: Feeder) -> None:
        self.lines = 0
        self._feeder = feeder
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="flood")
        ticks = [tick for _ in range(BURSTS) for tick in feeder.burst(1)]
        # all of one length, so that only the time must be written anew
        self._piece = b"".join(line(symbol, price, 1_000_000_000_001) for symbol, price, _ in ticks)

    def __enter__(self) -> Self:
        self._feeder.wait_for_connection()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            piece = self._piece.replace(b"1000000000001", b"%d" % now_ms())
            assert self._feeder.send_raw(piece)
            self.lines += BURSTS * len(SYMBOLS)


def test_a_flood_loses_nothing_and_does_not_starve_the_other(serve, feed, record_property):
    flooding, slow = feed("exchange1"), feed("exchange2", pulse_s=0.1)
    service = serve(config_of([(f.name, f.port) for f in (flooding, slow)])).start()
    service.wait_for_ticks(10, source="exchange2")
    ages, resident = [], []
    with Flood(flooding) as flood:
        deadline = monotonic() + 5
        while monotonic() < deadline:
            answer = service.json("/prices/latest/exchange2/BTCUSDT")
            ages.append(now_ms() - answer["timestamp"])
            resident.append(service.rss_mb())
            Event().wait(0.01)
    service.wait_for_ticks(flood.lines, timeout=20, source="exchange1")
    ages.sort()
    figures = {
        "ticks_per_s": flood.lines // 5,
        "age_ms_median": ages[len(ages) // 2],
        "age_ms_99": ages[len(ages) * 99 // 100],
        "age_ms_max": ages[-1],
        "rss_mb": round(max(resident)),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)
    assert ages[len(ages) * 9 // 10] < 250, figures
    assert max(resident) < 120, figures
    assert service.total("ticks_aggregated_total", source="exchange1") == flood.lines
    assert service.total("ticks_rejected_total") == 0
    assert len(flooding.accepted) == len(slow.accepted) == 1
    until(lambda: service.health()["status"] == "ok", 6, "ok")
    slow.stop()
    service.wait_for_ticks(len(slow.ledger), source="exchange2")
    service.terminate()
    rows = service.rows()
    stored = [row.count for row in rows if row.exchange == "exchange1"]
    assert sum(stored) == flood.lines
    check_rows((row for row in rows if row.exchange == "exchange2"), slow.ledger)


def test_a_restart_after_a_flood_says_that_it_is_restoring_and_then_has_everything(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    with Flood(feeder) as flood:
        Event().wait(2)
    service.wait_for_ticks(flood.lines, timeout=20)
    service.kill()
    feeder.hang_up()
    service.start(ready=False)
    answer = until(lambda: first_answer(service), 10, "answer")
    assert answer.status == 503
    assert "restoring" in answer.json["detail"]
    assert answer.headers["retry-after"]
    assert service.ask("/health").status == 503
    assert service.ask("/health/live").status == 200
    feeder.wait_for_connection()
    feeder.send(feeder.burst())
    until(lambda: service.ask("/health/ready").status == 200, 20, "service that is ready")
    service.wait_for_ticks(len(SYMBOLS))
    highest = service.json("/prices/highest/BTCUSDT?period=5m")
    assert highest["count"] == flood.lines // len(SYMBOLS) + 1
    service.terminate()
    assert sum(row.count for row in service.rows()) == flood.lines + len(SYMBOLS)


def first_answer(service):
    try:
        return service.ask("/prices/latest/BTCUSDT")
    except ConnectionRefusedError:
        return None


def test_many_ticks_of_one_millisecond_count(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    at = now_ms()
    feeder.send([tick for _ in range(2000) for tick in feeder.burst(at)])
    service.wait_for_ticks(10_000)
    bitcoin = [tick for tick in feeder.ledger if tick.symbol == "BTCUSDT"]
    check_average(service.json("/prices/average/BTCUSDT"), bitcoin)


def test_150_ticks_a_second_cost_next_to_nothing(serve, feed, record_property):
    feeders = [feed(f"exchange{n}", pulse_s=0.1) for n in (1, 2, 3)]
    service = serve(config_of([(feeder.name, feeder.port) for feeder in feeders])).start()
    service.wait_for_ticks(150)
    used, started = service.cpu_s(), monotonic()
    Event().wait(5)
    share = 100 * (service.cpu_s() - used) / (monotonic() - started)
    figures = {"cpu_percent": round(share, 2), "rss_mb": round(service.rss_mb(), 1)}
    for name, value in figures.items():
        record_property(name, value)
    print(figures)
    assert service.rss_mb() < 60
