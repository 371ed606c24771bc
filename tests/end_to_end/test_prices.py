"""Every price route of the brief against the feeders' own ledgers."""

from itertools import chain
from math import fsum
from threading import Event
from time import monotonic

import pytest

from tests.end_to_end.feeder import Feeder, now_ms
from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import (
    INTERVAL_MS,
    SYMBOLS,
    Sent,
    by_minute,
    check_average,
    check_extreme,
    check_rows,
    check_stats,
)

pytestmark = pytest.mark.slow

EXCHANGES = ("exchange1", "exchange2", "exchange3")
PERIODS = ("1s", "3s", "5s", "10s", "30s", "1m", "3m", "5m")
HISTORY_S = 400


@pytest.fixture
def feeders(feed) -> list[Feeder]:
    return [feed(name, scale=1 + n / 1000, seed=n) for n, name in enumerate(EXCHANGES)]


@pytest.fixture
def service(serve, feeders) -> Service:
    """A service that has read what each exchange had to tell of the last minutes."""
    start_ms = now_ms() - HISTORY_S * 1000
    for n, feeder in enumerate(feeders):
        moments = range(start_ms + 7 * n, now_ms(), 371)
        feeder.backlog = [tick for at in moments for tick in feeder.burst(at)]
    config = config_of([(feeder.name, feeder.port) for feeder in feeders])
    config["aggregation"]["late_intervals"] = HISTORY_S
    service = serve(config).start()
    for feeder in feeders:
        feeder.wait_for_connection()
    service.wait_for_ticks(sum(len(feeder.ledger) for feeder in feeders))
    return service


def sent_by(feeders, exchange: str | None, symbol: str) -> list[Sent]:
    return [
        tick
        for feeder in feeders
        if exchange in (None, feeder.name)
        for tick in feeder.ledger
        if tick.symbol == symbol
    ]


def ask_all(service: Service, feeders, kind: str, query: str = ""):
    """Ask a route for every pair, over all exchanges and each; yields what was sent as well."""
    for symbol in SYMBOLS:
        for exchange in (None, *EXCHANGES):
            where = f"{exchange}/{symbol}" if exchange else symbol
            answer = service.json(f"/prices/{kind}/{where}{query}")
            assert answer["symbol"] == symbol
            yield answer, sent_by(feeders, exchange, symbol), exchange


@pytest.mark.parametrize("period", [*PERIODS, None])
def test_extremes_and_averages_are_the_ledgers(service, feeders, period):
    refill(service, feeders)
    query = f"?period={period}" if period else ""
    for kind in ("highest", "lowest"):
        for answer, sent, exchange in ask_all(service, feeders, kind, query):
            check_extreme(answer, sent, highest=kind == "highest")
            assert exchange in (None, answer["exchange"])
            check_edges(answer, period or "1m")
    for answer, sent, exchange in ask_all(service, feeders, "average", query):
        check_average(answer, sent)
        assert answer["exchange"] == exchange
        check_edges(answer, period or "1m")


@pytest.mark.parametrize("period", ["3s", "5m", "6m", None])
def test_statistics_are_the_ledgers(service, feeders, period):
    refill(service, feeders)
    query = f"?period={period}" if period else ""
    for answer, sent, exchange in ask_all(service, feeders, "stats", query):
        check_stats(answer, sent)
        assert (answer["exchange"], answer["period"]) == (exchange, period or "1m")


def test_one_call_tells_the_latest_price_of_every_pair_on_every_exchange(service, feeders):
    refill(service, feeders)
    for query, symbols, exchanges in (
        ("", SYMBOLS, EXCHANGES),
        ("?symbols=ethusdt,BTCUSDT,ethusdt", ("ETHUSDT", "BTCUSDT"), EXCHANGES),
        ("?exchange=Exchange2", SYMBOLS, ("exchange2",)),
        ("?symbols=SOLUSDT&exchange=exchange1", ("SOLUSDT",), ("exchange1",)),
    ):
        prices = service.json(f"/prices/latest{query}")["prices"]
        told = [(price["symbol"], price["exchange"]) for price in prices]
        assert told == [(symbol, name) for symbol in symbols for name in exchanges]
        for price in prices:
            one = service.json(f"/prices/latest/{price['exchange']}/{price['symbol']}")
            assert one | {"age_ms": 0} == price | {"age_ms": 0}
    for query, status in (("?symbols=", 400), ("?symbols=BTCUSDT,", 400), ("?symbols=X", 404)):
        assert service.ask(f"/prices/latest{query}").status == status


def refill(service: Service, feeders) -> None:
    """Send a little more, so that the shortest period holds something."""
    for _ in range(5):
        for feeder in feeders:
            assert feeder.send(feeder.burst())
        Event().wait(0.03)
    service.wait_for_ticks(sum(len(feeder.ledger) for feeder in feeders))


def check_edges(answer, period: str) -> None:
    seconds = int(period[:-1]) * {"s": 1, "m": 60}[period[-1]]
    assert answer["period"] == period
    assert answer["to"] - answer["from"] == seconds * 1000
    assert abs(answer["to"] - now_ms()) < 2000


def test_the_latest_price_is_the_one_sent_last(service, feeders):
    refill(service, feeders)
    for answer, sent, _ in ask_all(service, feeders, "latest"):
        newest = max(tick.timestamp_ms for tick in sent)
        last = {
            (tick.exchange, tick.price, tick.timestamp_ms)
            for tick in sent
            if tick.timestamp_ms == newest
        }
        assert (answer["exchange"], answer["price"], answer["timestamp"]) in last
        assert answer["stale"] is False
        assert 0 <= answer["age_ms"] <= now_ms() - newest + 1  # our clocks are read apart
        assert answer["datetime"].endswith(f".{newest % 1000:03d}Z")


@pytest.mark.parametrize("period", ["6m", "10m", "1h"])
def test_a_longer_period_is_made_of_whole_minutes_stored_or_not(service, feeders, period):
    refill(service, feeders)
    until(
        lambda: len({row.end_ms for row in service.rows()}) > HISTORY_S * 1000 // INTERVAL_MS - 5,
        10,
        "stored minutes",
    )
    for kind in ("highest", "lowest"):
        for answer, sent, _ in ask_all(service, feeders, kind, f"?period={period}"):
            assert answer["from"] % INTERVAL_MS == 0
            check_extreme(answer, sent, highest=kind == "highest")
    for answer, sent, _ in ask_all(service, feeders, "average", f"?period={period}"):
        assert answer["from"] % INTERVAL_MS == 0
        check_average(answer, sent)


def test_nothing_is_lost_between_received_and_accounted_for(service, feeders):
    for number, feeder in enumerate(feeders):
        feeder.send_raw(b"garbage\n" * (number + 1))
    refill(service, feeders)
    until(lambda: service.total("ticks_rejected_total") == 6, 5, "rejected lines")
    for number, feeder in enumerate(feeders):
        labels = {"source": feeder.name}
        assert service.total("ticks_received_total", **labels) == len(feeder.ledger) + number + 1
        assert service.total("ticks_aggregated_total", **labels) == len(feeder.ledger)
        assert service.total("ticks_rejected_total", **labels) == number + 1
        assert service.total("ticks_late_total", **labels) == 0
        assert service.total("ticks_in_flight", **labels) == 0


def test_stored_minutes_are_the_ledgers(service, feeders):
    refill(service, feeders)
    sent = list(chain.from_iterable(feeder.ledger for feeder in feeders))
    until(lambda: len(service.rows()) >= len(by_minute(sent)), 10, "every row")
    check_rows(service.rows(), sent)


def test_answers_while_prices_pour_in_hold_all_that_was_surely_received(serve, feed):
    feeders = [feed(name, seed=n, pulse_s=0.02) for n, name in enumerate(EXCHANGES)]
    service = serve(config_of([(feeder.name, feeder.port) for feeder in feeders])).start()
    until(lambda: all(len(feeder.ledger) > 300 for feeder in feeders), 10, "some ticks")
    deadline = monotonic() + 2.5 * INTERVAL_MS / 1000  # rows are stored meanwhile
    while monotonic() < deadline:
        for symbol, period in zip(SYMBOLS, ("1s", "10m", "3s", "1h", "5m"), strict=True):
            asked_at = monotonic()
            answer = service.json(f"/prices/average/{symbol}?period={period}")
            mine = sent_by(feeders, None, symbol)
            inside = [tick for tick in mine if answer["from"] <= tick.timestamp_ms <= answer["to"]]
            sure = [tick for tick in inside if tick.sent_at < asked_at - 0.15]
            assert len(sure) <= answer["count"] <= len(inside)
            mean = fsum(tick.price for tick in inside) / len(inside)
            assert answer["price"] == pytest.approx(mean, rel=0.01)


def test_a_minute_of_one_constant_price_has_that_average(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    at = now_ms()
    for _ in range(7):
        feeder.send([("BTCUSDT", 0.1, at)] * 11 + [("ETHUSDT", 99881.6126506916, at)] * 13)
        Event().wait(0.02)
    rows = until(service.rows, 5, "a row")
    assert {(row.average, row.low, row.high, row.count) for row in rows} == {
        (0.1, 0.1, 0.1, 77),
        (99881.6126506916, 99881.6126506916, 99881.6126506916, 91),
    }
    answer = service.json("/prices/average/btcusdt?period=1m")
    assert (answer["price"], answer["count"]) == (0.1, 77)


def test_equal_extremes_are_dated_by_the_latest_then_by_the_name(serve, feed):
    feeders = [feed(name) for name in EXCHANGES]
    service = serve(config_of([(feeder.name, feeder.port) for feeder in feeders])).start()
    at = now_ms() - 500
    for feeder, later in zip(reversed(feeders), (20, 20, 10), strict=True):
        feeder.wait_for_connection()
        feeder.send([("BTCUSDT", 5.0, at), ("BTCUSDT", 5.0, at + later), ("BTCUSDT", 5.0, at + 5)])
    service.wait_for_ticks(9)
    for kind in ("highest", "lowest"):
        answer = service.json(f"/prices/{kind}/BTCUSDT?period=1m")
        assert (answer["exchange"], answer["timestamp"]) == ("exchange2", at + 20)


def test_a_late_tick_makes_its_stored_row_whole_again(serve, feed):
    feeder = feed()
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    feeder.wait_for_connection()
    at = now_ms() // INTERVAL_MS * INTERVAL_MS + 100
    for count in (1, 2, 3):
        feeder.send(feeder.burst(at + count))
        until(lambda: [row.count for row in service.rows()] == [count] * 5, 8, "better row")  # noqa: B023
    check_rows(service.rows(), feeder.ledger)
