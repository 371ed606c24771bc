"""Stored minutes over HTTP against the feeders' own ledgers."""

import csv
import io
import re
from threading import Event, Thread

import pytest

from tests.end_to_end.client import problem
from tests.end_to_end.feeder import Feeder, now_ms
from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import (
    INTERVAL_MS,
    StoredRow,
    by_minute,
    check_rows,
    milliseconds,
)

pytestmark = pytest.mark.slow

EXCHANGES = ("exchange1", "exchange2", "exchange3")
HISTORY_S = 200
NUMBERS = ("timestamp", "open_at", "close_at", "min_at", "max_at", "tick_count")


@pytest.fixture
def feeders(feed) -> list[Feeder]:
    return [feed(name, scale=1 + n / 1000, seed=n) for n, name in enumerate(EXCHANGES)]


@pytest.fixture
def service(serve, feeders) -> Service:
    """A service that has read what each exchange had to tell of the last minutes."""
    start_ms = now_ms() - HISTORY_S * 1000
    for n, feeder in enumerate(feeders):
        moments = range(start_ms + 7 * n, now_ms(), 371)
        # exchange2 was silent for a while
        told = [at for at in moments if n != 1 or not 60_000 <= at - start_ms < 90_000]
        feeder.backlog = [tick for at in told for tick in feeder.burst(at)]
    config = config_of([(feeder.name, feeder.port) for feeder in feeders])
    config["aggregation"]["late_intervals"] = HISTORY_S
    service = serve(config).start()
    for feeder in feeders:
        feeder.wait_for_connection()
    service.wait_for_ticks(sum(len(feeder.ledger) for feeder in feeders))
    return service


def pages(service: Service, target: str):
    """Yield the answers that links lead through."""
    while target:
        answer = service.ask(target)
        assert answer.status == 200, (target, answer)
        yield answer
        link = answer.headers.get("link", "")
        target = link and re.fullmatch(r'<(/[!-~]+)>; rel="next"', link)[1]


def stored(row: dict) -> StoredRow:
    return StoredRow(
        row["mode"],
        row["exchange"],
        row["pair_name"],
        row["timestamp"],
        row["tick_count"],
        row["min_price"],
        row["max_price"],
        row["average_price"],
        row["open_price"],
        row["close_price"],
        row["open_at"],
        row["close_at"],
        row["min_at"],
        row["max_at"],
    )


def typed(row: dict[str, str]) -> dict:
    texts = ("pair_name", "exchange", "mode", "datetime")
    return {
        name: text if name in texts else (int if name in NUMBERS else float)(text)
        for name, text in row.items()
    }


def wait_for_every_row(service: Service, feeders) -> list:
    """Wait until the last minute sent has had its grace; return all that was sent."""
    sent = [tick for feeder in feeders for tick in feeder.ledger]
    until(lambda: len(service.rows()) >= len(by_minute(sent)), 10, "every row")
    return sent


def test_pages_joined_are_every_row_of_the_ledger(service, feeders):
    sent = wait_for_every_row(service, feeders)
    for symbol, limit in (("BTCUSDT", 37), ("DOGEUSDT", 5000)):
        mine = [tick for tick in sent if tick.symbol == symbol]
        answers = list(pages(service, f"/history/{symbol.lower()}?from=0&limit={limit}"))
        rows = [row for answer in answers for row in answer.json["rows"]]
        assert all(milliseconds(row["datetime"]) == row["timestamp"] for row in rows)
        places = [(row["timestamp"], row["exchange"]) for row in rows]
        assert places == sorted(set(places))
        check_rows(map(stored, rows), mine)
        for answer in answers[:-1]:
            assert len(answer.json["rows"]) == limit
        own = [row for row in rows if row["exchange"] == "exchange2"]
        assert service.json(f"/history/{symbol}?exchange=EXCHANGE2")["rows"] == own[-500:]
        newest = service.json(f"/history/{symbol}?limit=9")["rows"]
        assert newest == rows[-9:]


def test_csv_holds_the_same_rows_with_the_right_types(service, feeders):
    wait_for_every_row(service, feeders)
    rows = service.json("/history/BTCUSDT")["rows"]
    for answer in (
        service.ask("/history/BTCUSDT?format=csv"),
        service.ask("/history/BTCUSDT", accept="text/csv"),
        service.ask("/history/BTCUSDT?format=csv", accept="application/json"),
    ):
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "Accept" in answer.headers["vary"].split(", ")
        table = csv.DictReader(io.StringIO(answer.body.decode(), newline=""))
        assert [typed(row) for row in table] == rows


def test_no_page_has_a_row_twice_or_leaves_one_out_while_rows_arrive(service, feeders):
    known = wait_for_every_row(service, feeders)
    stop = Event()

    def send():
        while not stop.wait(0.05):
            for feeder in feeders:
                feeder.send(feeder.burst())

    sender = Thread(target=send, name="sender")
    sender.start()
    try:
        begun_ms = now_ms()
        found = []
        for answer in pages(service, "/history/BTCUSDT?from=0&limit=3"):
            found += [(row["timestamp"], row["exchange"]) for row in answer.json["rows"]]
            Event().wait(0.05)  # while new minutes are stored
            if now_ms() > begun_ms + 4 * INTERVAL_MS and len(answer.json["rows"]) < 3:
                break
    finally:
        stop.set()
        sender.join()
    assert found == sorted(set(found))
    minutes = by_minute(tick for tick in known if tick.symbol == "BTCUSDT")
    assert {(end, exchange) for exchange, _, end in minutes} <= set(found)
    assert found[-1][0] > begun_ms, "minutes that ended meanwhile were told as well"


def test_gaps_are_where_the_ledger_has_none(service, feeders):
    sent = wait_for_every_row(service, feeders)
    from_ms = now_ms() - HISTORY_S * 900
    answer = service.json(f"/gaps/BTCUSDT?from={from_ms}&to={from_ms + HISTORY_S * 700}")
    missing = {
        (gap["exchange"], end)
        for gap in answer["gaps"]
        for end in range(gap["from"] + INTERVAL_MS, gap["to"] + 1, INTERVAL_MS)
    }
    there = {(exchange, end) for exchange, symbol, end in by_minute(sent) if symbol == "BTCUSDT"}
    first = answer["from"] + INTERVAL_MS
    assert missing == {
        (exchange, end)
        for exchange in EXCHANGES
        for end in range(first, answer["to"] + 1, INTERVAL_MS)
        if (exchange, end) not in there
    }
    assert {exchange for exchange, _ in missing} == {"exchange2"}
    assert len(answer["gaps"]) == 1


def test_what_can_change_no_more_is_not_sent_twice(serve, feed):
    feeder = feed(pulse_s=0.05)
    config = config_of([(feeder.name, feeder.port)])
    config["aggregation"]["late_intervals"] = 1
    service = serve(config).start()
    (end_ms,) = until(lambda: {row.end_ms for row in service.rows()}, 10, "a row")
    final_ms = end_ms + 2 * INTERVAL_MS + 200
    for target in (f"/history/BTCUSDT?to={end_ms + 1}", f"/candles/BTCUSDT?to={end_ms - 60_000}"):
        assert service.ask(target.replace("?to=", "?from=")).headers["cache-control"] == "no-store"
        until(lambda: now_ms() > final_ms, 10, "later time")
        answer = service.ask(target)
        tag = answer.headers["etag"]
        assert answer.headers["cache-control"] == "no-cache"
        again = service.ask(target, if_none_match=f'"other", {tag}')
        assert (again.status, again.body) == (304, b"")
        for name in ("etag", "cache-control", "vary"):
            assert again.headers.get(name) == answer.headers.get(name)
        assert service.ask(target, if_none_match='"other"').body == answer.body
        assert service.ask(target, "HEAD").headers["etag"] == tag


def test_no_history_is_shown_when_the_store_cannot_be_read(service, feeders):
    wait_for_every_row(service, feeders)
    file = service.data_dir / "marketflow.db"
    file.rename(file.with_name("aside.db"))
    file.write_bytes(b"this is no database" * 1000)
    for target in ("/history/BTCUSDT", "/candles/BTCUSDT", "/gaps/BTCUSDT"):
        answer = service.ask(target)
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    assert service.json("/udf/history?symbol=BTCUSDT&resolution=1&from=0&to=1")["s"] == "error"


def test_what_is_asked_wrongly_is_told(service_with_built_in_prices):
    service = service_with_built_in_prices
    for target, status, words in (
        ("/history/nope", 404, "unknown symbol 'nope'"),
        ("/history/BTCUSDT?exchange=nope", 404, "unknown exchange 'nope'"),
        ("/history/BTCUSDT?limit=5001", 400, "limit must be a whole number from 1 to 5000"),
        ("/history/BTCUSDT?cursor=!", 400, "cursor must be one that a Link held"),
        ("/candles/BTCUSDT?interval=2m", 400, "interval must be one of 1m, 5m, 15m, 1h, 4h, 1d"),
        ("/gaps/BTCUSDT?from=2&to=1", 400, "from must not be after to"),
    ):
        assert words in problem(service.ask(target), status)["detail"]
    for target in ("/history/BTCUSDT", "/candles/BTCUSDT", "/gaps/BTCUSDT"):
        problem(service.ask(target, "POST"), 405)
        assert service.ask(target, "HEAD").status == 200
        assert service.ask(target, "OPTIONS").headers["allow"] == "GET, HEAD, OPTIONS"
