"""/stream of the real process, read by an SSE client that is not ours."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from tests.end_to_end.client import problem
from tests.end_to_end.harness import Service, config_of, until
from tests.end_to_end.ledger import StoredRow

pytestmark = pytest.mark.slow

SERIES = 5
STREAM = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def events(
    service: Service, query: str = "", **headers: str
) -> Iterator[Iterator[ServerSentEvent]]:
    """Subscribe with httpx-sse."""
    url = f"http://127.0.0.1:{service.port}/stream{query}"
    with (
        httpx.Client(timeout=10, trust_env=False) as client,
        connect_sse(client, "GET", url, headers=headers) as source,
    ):
        yield source.iter_sse()


def following(found: Iterator[ServerSentEvent], kind: str) -> tuple[Any, str]:
    """Return data and id of the next event of that kind."""
    event = next(event for event in found if event.event == kind)
    return json.loads(event.data), event.id


def _stored(minute: dict[str, Any]) -> StoredRow:
    return StoredRow(
        *(minute[name] for name in ("mode", "exchange", "pair_name", "timestamp", "tick_count")),
        *(minute[f"{name}_price"] for name in ("min", "max", "average", "open", "close")),
        *(minute[f"{name}_at"] for name in ("open", "close", "min", "max")),
    )


def test_a_snapshot_then_prices_and_every_stored_minute(serve, feed):
    exchange = feed(pulse_s=0.02)
    service = serve(config_of([("exchange1", exchange.port)])).start()
    service.wait_for_ticks(SERIES)
    with events(service) as found:
        first = next(found)
        assert (first.event, first.retry) == ("snapshot", 2000)
        prices = json.loads(first.data)["prices"]
        assert sorted(service.json("/prices/latest/BTCUSDT")) == sorted(prices[0])
        assert len(prices) == SERIES
        told: dict[str, list[Any]] = {"price": [], "minute": []}
        while len(told["minute"]) < 2 * SERIES:
            event = next(found)
            told[event.event].append(json.loads(event.data))
    assert len(told["price"]) >= 2 * SERIES
    exchange.stop()
    assert {_stored(minute) for minute in told["minute"]} <= {*service.rows()}


def test_prices_come_at_most_once_an_interval_for_each_series(serve, feed):
    exchange = feed(pulse_s=0.005)
    service = serve(
        config_of([("exchange1", exchange.port)], http={"stream_interval": "100ms"})
    ).start()
    service.wait_for_ticks(SERIES)
    with events(service, "?symbols=btcusdt") as found:
        assert len(following(found, "snapshot")[0]["prices"]) == 1
        before = service.total("ticks_aggregated_total")
        for _ in range(10):
            assert following(found, "price")[0]["symbol"] == "BTCUSDT"
        # a tick every 5 ms: the events stand for many more ticks than there are events
        assert service.total("ticks_aggregated_total") - before > 20 * SERIES


def test_a_feed_that_is_lost_and_comes_back_and_a_switch_are_told(serve, feed):
    exchange = feed(pulse_s=0.05)
    config = config_of(
        [("exchange1", exchange.port)],
        [("exchange1", exchange.port)],
        feed={"backoff_max": "100ms"},
    )
    service = serve(config).start()
    service.wait_for_ticks(SERIES)
    with events(service) as found:
        following(found, "snapshot")
        exchange.stop()
        assert following(found, "feed")[0]["connected"] is False
        exchange.start(0.05)
        assert following(found, "feed")[0]["connected"] is True
        service.ask("/mode/test", "POST")
        assert following(found, "mode")[0] == {"mode": "test", "previous": "live"}
        assert following(found, "snapshot")[0]["mode"] == "test"
        assert following(found, "price")[0]["symbol"]


def test_who_comes_back_gets_the_minutes_it_missed(serve, feed):
    exchange = feed(pulse_s=0.05)
    service = serve(config_of([("exchange1", exchange.port)])).start()
    service.wait_for_ticks(SERIES)
    with events(service, "?symbols=ETHUSDT") as found:
        seen, number = following(found, "minute")
    stored = service.total("rows_stored_total")
    until(lambda: service.total("rows_stored_total") >= stored + 2 * SERIES, 10, "two minutes")
    with events(service, "?symbols=ETHUSDT", **{"Last-Event-ID": number}) as found:
        assert next(found).event == "snapshot"
        missed = [following(found, "minute")[0]["timestamp"] for _ in range(2)]
    assert [seen["timestamp"] + 2_000, seen["timestamp"] + 4_000] == missed


def test_who_does_not_read_is_closed_and_the_others_go_on(serve, feed):
    exchange = feed(pulse_s=0.002)
    service = serve(
        config_of([("exchange1", exchange.port)], http={"stream_interval": "10ms"})
    ).start()
    service.wait_for_ticks(SERIES)
    with ExitStack() as stack:
        found = stack.enter_context(events(service, "?symbols=TONUSDT"))
        stuck = stack.enter_context(socket.socket())
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", service.port))
        stuck.sendall(STREAM)
        until(lambda: service.total("stream_subscribers") == 2, 5, "second subscriber")
        while service.total("stream_subscribers") == 2:
            for _ in range(20):
                following(found, "price")
    until(lambda: service.total("stream_subscribers") == 0, 5, "end of all subscriptions")


def test_a_stop_ends_the_stream_and_is_not_held_up(serve, feed):
    exchange = feed(pulse_s=0.05)
    service = serve(config_of([("exchange1", exchange.port)])).start()
    service.wait_for_ticks(SERIES)
    with events(service) as found:
        following(found, "price")
        service.signal(signal.SIGTERM)
        for _ in found:
            pass
    assert service.wait() == 0
    assert not service.tracebacks()


def test_what_cannot_be_subscribed_to_is_a_problem(service_with_built_in_prices):
    service = service_with_built_in_prices
    assert "BTCUSDT" in problem(service.ask("/stream?symbols=nosuch"), 404)["detail"]
    assert "exchange1" in problem(service.ask("/stream?exchange=nosuch"), 404)["detail"]
    assert "symbols" in problem(service.ask("/stream?symbols=,"), 400)["detail"]
    problem(service.ask("/stream", "POST"), 405)
    head = service.ask("/stream", "HEAD")
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    assert head.headers["cache-control"] == "no-store"
