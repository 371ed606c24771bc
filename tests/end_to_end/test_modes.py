"""Switching between live and test under load: nothing mixes, nothing leaks."""

import signal
from threading import Event, Thread
from time import monotonic
from typing import Self

import pytest

from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import check_rows_after_kills

pytestmark = pytest.mark.slow

NAMES = ("exchange1", "exchange2", "exchange3")
SCALES = {"live": 1.0, "test": 2.0}


def mode_of(price: float) -> str:
    """Say which mode a price of Bitcoin belongs to."""
    found = [mode for mode, scale in SCALES.items() if abs(price / (100_000 * scale) - 1) < 0.02]
    assert found, f"{price} belongs to no mode"
    return found[0]


class Hammer:
    """Asks without a pause for what would show a mixture of modes."""

    def __init__(self, service: Service) -> None:
        self.surprises: list[AssertionError] = []
        self._service = service
        self._finished = Event()
        self._threads = [Thread(target=self._run, name="hammer") for _ in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._finished.is_set():
            try:
                for kind in ("highest", "lowest", "average"):
                    answer = self._service.ask(f"/prices/{kind}/BTCUSDT?period=5m")
                    assert answer.status in (200, 404), answer
                    if answer.status == 200:
                        mode_of(answer.json["price"])
            except AssertionError as error:
                self.surprises.append(error)


def switch(service: Service, mode: str) -> float:
    """Switch, and wait for the first price, which must be the new mode's; when it was asked."""
    previous, at = service.json("/mode")["mode"], monotonic()
    answer = service.ask(f"/mode/{mode}", "POST")
    assert answer.status == 200
    assert answer.json == {"mode": mode, "previous": previous, "changed": True}
    assert service.json("/mode")["mode"] == mode

    def has_price() -> bool:
        latest = service.ask("/prices/latest/BTCUSDT")
        return latest.status == 200 and mode_of(latest.json["price"]) == mode

    latest = service.ask("/prices/latest/BTCUSDT")
    assert latest.status == 404 or mode_of(latest.json["price"]) == mode
    until(has_price, 5, f"price in {mode} mode")
    assert mode_of(service.json("/prices/highest/BTCUSDT?period=5m")["price"]) == mode
    return at


def test_twenty_switches_under_load_mix_and_leak_nothing(serve, feed):
    feeders = {
        mode: [feed(name, pulse_s=0.05, scale=scale) for name in NAMES]
        for mode, scale in SCALES.items()
    }
    sources = {mode: [(f.name, f.port) for f in some] for mode, some in feeders.items()}
    config = config_of(sources["live"], sources["test"], http={"workers": 1})
    service = serve(config).start()
    service.wait_for_ticks(100)
    service.ask("/mode/live", "POST")  # the pool's one thread starts with its first task
    tasks, descriptors = service.tasks(), service.descriptors()
    threads = service.health()["threads"]
    switches = []
    with Hammer(service) as hammer:
        for turn in range(20):
            switches.append(switch(service, "live" if turn % 2 else "test"))
            Event().wait(0.03 * (turn % 7))
    assert not hammer.surprises
    assert service.health()["threads"] == threads
    until(lambda: service.tasks() == tasks, 5, "the same number of threads")
    until(lambda: service.descriptors() <= descriptors, 5, "the same number of descriptors")
    until(lambda: service.health()["status"] == "ok", 6, "ok")
    switches.append(service.signal(signal.SIGTERM))
    assert service.wait() == 0
    assert not service.tracebacks()
    for mode, some in feeders.items():
        rows = [row for row in service.rows() if row.mode == mode]
        sent = [tick for feeder in some for tick in feeder.ledger]
        check_rows_after_kills(rows, sent, switches, sure_s=0.1)


def test_a_switch_to_the_same_mode_changes_nothing(serve, feed):
    feeder = feed(pulse_s=0.05)
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    service.wait_for_ticks(10)
    answer = service.ask("/mode/live", "POST")
    assert answer.json == {"mode": "live", "previous": "live", "changed": False}
    assert len(feeder.accepted) == 1
    assert service.json("/prices/latest/BTCUSDT")["price"] > 0


def test_a_minute_survives_a_switch_there_and_back(serve, feed):
    live, other = feed("exchange1"), feed("exchange1", scale=2.0, pulse_s=0.05)
    service = serve(config_of([(live.name, live.port)], [(other.name, other.port)])).start()
    for _ in range(3):
        live.wait_for_connection()
        live.send(live.burst())
        Event().wait(0.3)
        assert service.ask("/mode/test", "POST").status == 200
        live.hang_up()
        assert service.ask("/mode/live", "POST").status == 200
    service.terminate()
    rows = [row for row in service.rows() if row.mode == "live"]
    check_rows_after_kills(rows, live.ledger, [])


def test_a_restart_begins_in_the_configured_mode_and_completes_both_modes_rows(serve, feed):
    live, other = feed("exchange1"), feed("exchange1", scale=2.0)
    service = serve(config_of([(live.name, live.port)], [(other.name, other.port)])).start()
    live.wait_for_connection()
    live.send(live.burst())
    Event().wait(0.3)
    service.ask("/mode/test", "POST")
    other.wait_for_connection()
    other.send(other.burst())
    Event().wait(0.3)
    service.kill()
    service.start()
    assert service.json("/mode")["mode"] == "live"
    assert mode_of(service.json("/prices/highest/BTCUSDT?period=5m")["price"]) == "live"
    service.terminate()
    for mode, feeder in (("live", live), ("test", other)):
        rows = [row for row in service.rows() if row.mode == mode]
        check_rows_after_kills(rows, feeder.ledger, [])


def test_the_built_in_prices_need_nothing_else(serve):
    service = serve({"aggregation": {"interval": "2s", "grace": "200ms"}}).start()
    assert service.json("/mode")["mode"] == "test"
    service.wait_for_ticks(300)
    names = service.json("/exchanges")["exchanges"]
    for symbol in service.json("/symbols")["symbols"]:
        for name in names:
            assert service.json(f"/prices/latest/{name}/{symbol}")["exchange"] == name
    rows = until(service.rows, 5, "rows")
    assert {row.mode for row in rows} == {"test"}
