"""Stored minutes and the window across every way a process can end."""

import signal
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from threading import Event

import pytest

from tests.end_to_end.feeder import Feeder, now_ms
from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import (
    INTERVAL_MS,
    by_minute,
    check_average,
    check_extreme,
    check_rows,
    check_rows_after_kills,
)

pytestmark = pytest.mark.slow

PULSE_S = 0.05


@pytest.fixture
def feeders(feed) -> list[Feeder]:
    return [feed("exchange1", seed=1), feed("exchange2", seed=2, scale=1.01)]


@pytest.fixture
def service(serve, feeders) -> Service:
    return serve(config_of([(feeder.name, feeder.port) for feeder in feeders]))


def ledger(feeders):
    return list(chain.from_iterable(feeder.ledger for feeder in feeders))


def reach_the_middle_of_a_minute() -> None:
    """Wait until a quarter of the current minute is over."""
    quarter, now = INTERVAL_MS // 4, now_ms()
    Event().wait(((quarter - now) % INTERVAL_MS) / 1000)


def send_for(feeders, seconds: float) -> None:
    """Send bursts on whatever connections there are, then let the last ones arrive."""
    for feeder in feeders:
        feeder.wait_for_connection()
    for _ in range(round(seconds / PULSE_S)):
        for feeder in feeders:
            feeder.send(feeder.burst())
        Event().wait(PULSE_S)
    Event().wait(0.3)


def finish(service: Service, feeders) -> None:
    """Wait for the last minute's row, and stop."""
    last = max(end for _, _, end in by_minute(ledger(feeders)))
    until(lambda: now_ms() > last, INTERVAL_MS / 1000 + 1, "end of the minute")
    service.terminate()


def stop_in_order(service: Service, feeders) -> None:
    service.terminate()
    for feeder in feeders:
        feeder.hang_up()


def kill(service: Service, feeders) -> None:
    service.kill()
    for feeder in feeders:
        feeder.hang_up()  # nothing more is sent to the dead


@pytest.mark.parametrize("end", [stop_in_order, kill])
def test_a_restart_in_the_middle_of_a_minute_loses_nothing(
    service, feeders, end: Callable[..., None]
):
    service.start()
    send_for(feeders, 2.5)
    reach_the_middle_of_a_minute()
    send_for(feeders, 0.3)
    before = list(ledger(feeders))
    end(service, feeders)
    service.start()
    answer_at_once(service, before)
    send_for(feeders, 0.3)
    finish(service, feeders)
    check_rows(service.rows(), ledger(feeders))
    assert not service.tracebacks()


def answer_at_once(service: Service, sent) -> None:
    """The first answers after a restart hold the ticks from before it."""
    bitcoin = [tick for tick in sent if tick.symbol == "BTCUSDT"]
    for kind in ("highest", "lowest"):
        answer = service.json(f"/prices/{kind}/BTCUSDT?period=5m")
        check_extreme(answer, bitcoin, highest=kind == "highest")
    check_average(service.json("/prices/average/BTCUSDT?period=5m"), bitcoin)
    newest = max(bitcoin, key=lambda tick: (tick.timestamp_ms, tick.sent_at))
    latest = service.json(f"/prices/latest/{newest.exchange}/BTCUSDT")
    assert (latest["price"], latest["timestamp"]) == (newest.price, newest.timestamp_ms)


def test_the_open_minute_is_stored_by_an_orderly_stop(service, feeders):
    service.start()
    reach_the_middle_of_a_minute()
    send_for(feeders, 0.2)
    service.terminate()
    check_rows(service.rows(), ledger(feeders))


def test_every_tick_sent_100_ms_before_sigterm_is_stored(service, feeders):
    service.start()
    for feeder in feeders:
        feeder.wait_for_connection()
        feeder.pulse(0.01)
    until(lambda: len(ledger(feeders)) > 1000, 10, "a thousand ticks")
    at = service.signal(signal.SIGTERM)
    assert service.wait() == 0
    check_rows_after_kills(service.rows(), ledger(feeders), [at], sure_s=0.1)


def hear_more(feeders) -> None:
    """Wait until the exchanges have sent two hundred ticks more."""
    wanted = len(ledger(feeders)) + 200
    until(lambda: len(ledger(feeders)) > wanted, 10, "more ticks")


def test_kill_in_a_loop_loses_at_most_the_last_quarter_of_a_second(service, feeders):
    for feeder in feeders:
        feeder.pulse(0.02)
    kills = []
    for round_ in range(8):
        service.start()
        hear_more(feeders)
        Event().wait(0.1 * round_ % 0.7)
        kills.append(service.kill())
    service.start()
    hear_more(feeders)
    kills.append(service.signal(signal.SIGTERM))
    assert service.wait() == 0
    check_rows_after_kills(service.rows(), ledger(feeders), kills)
    assert not service.tracebacks()


def newest_segment(service: Service) -> Path:
    return max((service.data_dir / "journal").iterdir(), key=lambda path: path.name)


def test_a_torn_tail_costs_only_what_was_torn(service, feeders):
    service.start()
    send_for(feeders, 0.5)
    kill(service, feeders)
    with newest_segment(service).open("ab") as segment:
        segment.write(b"MFR1 torn \x00\xff" * 7)
    service.start()
    answer_at_once(service, ledger(feeders))
    reach_the_middle_of_a_minute()  # so that what is torn is in no row yet
    send_for(feeders, 0.2)
    kill(service, feeders)
    with newest_segment(service).open("ab") as segment:
        segment.truncate(segment.tell() - 3)
    torn = [feeder.ledger[-1].sent_at for feeder in feeders]
    service.start()
    send_for(feeders, 0.2)
    finish(service, feeders)
    whole = [tick for tick in ledger(feeders) if tick.sent_at not in torn]
    minutes = by_minute(ledger(feeders))
    assert sorted(row.series for row in service.rows()) == sorted(minutes)
    assert sum(row.count for row in service.rows()) in (len(whole), len(whole) + 5)
    assert not service.tracebacks()


def test_a_tear_in_the_middle_leaves_the_other_records_and_the_stored_rows(service, feeders):
    service.start()
    send_for(feeders, 2.5)
    until(service.rows, 5, "stored rows")
    kill(service, feeders)
    stored = service.rows()
    segment = newest_segment(service)
    data = bytearray(segment.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 9] = b"\xff" * 9
    segment.write_bytes(data)
    service.start()
    first = min(tick.timestamp_ms for tick in ledger(feeders))
    answer = service.json("/prices/lowest/BTCUSDT?period=5m")
    assert 0 < answer["count"] < len(ledger(feeders)) / 5
    assert answer["from"] <= first
    Event().wait(INTERVAL_MS / 1000)  # what follows is another minute's
    already = [len(feeder.ledger) for feeder in feeders]
    send_for(feeders, 0.5)
    new = [tick for feeder, n in zip(feeders, already, strict=True) for tick in feeder.ledger[n:]]
    finish(service, feeders)
    minutes, rows = by_minute(ledger(feeders)), {row.series: row for row in service.rows()}
    assert rows.keys() <= minutes.keys()
    assert all(rows[row.series].count >= row.count for row in stored)
    check_rows([rows[series] for series in by_minute(new)], new)
    assert not service.tracebacks()


def test_an_unreadable_journal_does_not_keep_the_service_from_starting(service, feeders):
    service.start()
    send_for(feeders, 0.2)
    kill(service, feeders)
    for segment in (service.data_dir / "journal").iterdir():
        segment.write_bytes(b"\x00" * segment.stat().st_size)
    (service.data_dir / "journal" / "notes.txt").write_text("not ours")
    already = len(feeders[0].ledger)
    service.start()
    send_for(feeders, 0.2)
    new = [tick for tick in feeders[0].ledger[already:] if tick.symbol == "BTCUSDT"]
    check_extreme(service.json("/prices/highest/exchange1/BTCUSDT"), new, highest=True)
    service.terminate()
    assert not service.tracebacks()
