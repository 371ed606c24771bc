"""Exchanges that go away, refuse, fall silent or break off: prices return by themselves."""

from threading import Event
from time import monotonic

import pytest

from tests.end_to_end.feeder import Feeder, now_ms
from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import check_extreme
from tests.ports import free_port

pytestmark = pytest.mark.slow

PULSE_S = 0.1
TELLS_S = 6.0  # how soon /health tells of a fault, and of its end


def rejected_lines(service: Service, name: str) -> int:
    return service.health()["feeds"][name]["rejected"]


def problems_of(service: Service) -> str:
    health = service.health()
    assert service.ask("/health").status == 200
    assert (health["status"] == "ok") == (not health["problems"])
    return "\n".join(health["problems"])


def test_every_kind_of_outage_is_told_heals_and_leaves_the_others_alone(serve, feed):
    fine = feed("fine", pulse_s=PULSE_S)
    stopped = feed("stopped", pulse_s=PULSE_S)
    refused = feed("refused")
    refused.stop()
    half_open, silent = feed("half-open"), feed("silent")
    broken = (stopped, refused, half_open, silent)
    config = config_of([(feeder.name, feeder.port) for feeder in (fine, *broken)])
    service = serve({**config, "feed": {"stale_after": "1s"}}).start()
    silent.wait_for_connection()
    silent.send(silent.burst())
    service.wait_for_ticks(5, source="stopped")
    stopped.stop()
    heard = len(fine.ledger)

    until(lambda: outages_are_told(service), TELLS_S, "truth in /health")
    problems = problems_of(service)
    assert all(feeder.name in problems for feeder in broken)
    assert fine.name not in problems
    assert service.json("/prices/latest/silent/BTCUSDT")["stale"]

    Event().wait(4)
    assert len(fine.accepted) == 1
    assert len(fine.ledger) > heard
    assert max(len(half_open.accepted), len(silent.accepted)) <= 5  # one in a second at most
    for feeder in (stopped, refused):
        feeder.start(PULSE_S)
    for feeder in (half_open, silent):
        feeder.pulse(PULSE_S)
    until(lambda: not problems_of(service), TELLS_S, "health that is ok again")
    for feeder in (fine, *broken):
        check_it_is_back(service, feeder)
    assert service.health()["feeds"]["fine"]["reconnects"] == 0
    assert service.health()["feeds"]["stopped"]["reconnects"] >= 1
    assert len([line for line in service.log if "source=stopped" in line]) <= 4
    service.terminate()


def outages_are_told(service: Service) -> bool:
    feeds = service.health()["feeds"]
    return (
        not feeds["stopped"]["connected"]
        and not feeds["refused"]["connected"]
        and feeds["half-open"]["stale"]
        and feeds["silent"]["stale"]
    )


def check_it_is_back(service: Service, feeder: Feeder) -> None:
    feed = service.health()["feeds"][feeder.name]
    assert feed["connected"]
    assert not feed["stale"]
    assert service.metrics()[f'feed_connected{{source="{feeder.name}"}}'] == 1
    answer = service.json(f"/prices/latest/{feeder.name}/BTCUSDT")
    assert not answer["stale"]
    assert answer["timestamp"] > now_ms() - 2000


def test_an_exchange_that_breaks_off_at_once_is_not_hammered(serve, feed):
    feeder = feed()
    config = config_of([(feeder.name, feeder.port)])
    service = serve(config).start()
    deadline = monotonic() + 4
    while monotonic() < deadline:
        feeder.wait_for_connection()
        feeder.hang_up(reset=True)
    assert len(feeder.accepted) <= 6  # at 0, .5, 1.5, 3.5 s, or somewhat earlier
    assert len([line for line in service.log if feeder.name in line]) <= 10


def test_a_backlog_of_stale_ticks_is_read_and_dated_by_the_exchange(serve, feed):
    feeder = feed()
    start = now_ms() - 5000
    feeder.backlog = [tick for at in range(start, start + 4000, 100) for tick in feeder.burst(at)]
    config = config_of([(feeder.name, feeder.port)])
    config["aggregation"]["late_intervals"] = 60  # however long the start takes
    service = serve(config).start()
    feeder.wait_for_connection()
    service.wait_for_ticks(len(feeder.ledger))
    bitcoin = [tick for tick in feeder.ledger if tick.symbol == "BTCUSDT"]
    for period in ("3s", "1m"):
        answer = service.json(f"/prices/highest/BTCUSDT?period={period}")
        check_extreme(answer, bitcoin, highest=True)


def test_half_a_line_is_never_glued_to_the_next_connection(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    feeder.send([("BTCUSDT", 7.5, now_ms())])
    feeder.send_raw(b'{"symbol":"BTCUSDT","price":1')
    service.wait_for_ticks(1)
    feeder.hang_up()
    feeder.wait_for_connection()
    feeder.send_raw(b'2.5,"timestamp":%d}\n' % now_ms())
    feeder.send([("BTCUSDT", 7.25, now_ms())])
    service.wait_for_ticks(2)
    assert service.json("/prices/highest/BTCUSDT")["price"] == 7.5
    assert service.json("/prices/lowest/BTCUSDT")["price"] == 7.25
    assert rejected_lines(service, feeder.name) == 1


def test_a_service_without_any_exchange_starts_and_says_so(serve):
    service = serve(config_of([("exchange1", free_port())])).start()
    assert service.ask("/prices/latest/BTCUSDT").status == 404
    until(lambda: "exchange1" in problems_of(service), TELLS_S, "problem in /health")
    service.terminate()
    assert service.rows() == []
