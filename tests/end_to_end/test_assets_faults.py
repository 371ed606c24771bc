"""Exchanges that fail in every way: prices stay, the truth is told, nobody who reads waits."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.end_to_end.asset_rig import (
    FAST_MS,
    NAMES,
    asked,
    asset_config,
    quote_all,
    refresh,
    refreshed,
    start_exchanges,
    usual_ms,
)
from tests.end_to_end.client import problem
from tests.end_to_end.harness import until

pytestmark = pytest.mark.slow

TIMEOUT_S = 0.7
IN_TIME_S = TIMEOUT_S + 1.0  # the answer comes a moment after the deadline
PATIENT = {"failures": 1000, "open_for": "1s", "probes": 1}
TELLS_S = 6.0


@pytest.fixture
def exchanges(cleanup):
    return start_exchanges(cleanup)


@pytest.fixture
def start(serve, exchanges, tmp_path):
    """Start a service whose breaker stays closed unless told otherwise."""

    def start(assets=None, **sections):
        settings = {"breaker": PATIENT, **(assets or {})}
        return serve(asset_config(exchanges, tmp_path, assets=settings, **sections)).start()

    return start


def test_with_every_exchange_hanging_prices_are_told_at_once(start, exchanges):
    service = start({"timeout": "5s"})
    quote_all(exchanges, "btcusdt", *[(100.0, 1)] * 3)
    refreshed(service, "btcusdt")
    for exchange in exchanges:
        exchange.fault = "hang"
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(refresh, service, name) for name in NAMES[:20]]
        until(lambda: min(asked(exchanges)) >= 2, 5, "questions")
        assert usual_ms(service, "/prices/btcusdt") < FAST_MS
        assert usual_ms(service, "/prices/coin9usdt", status=404) < FAST_MS
        assert usual_ms(service, "/prices?assets=btcusdt,ethusdt") < FAST_MS
        answers = [future.result() for future in waiting]
    for answer in answers:
        assert problem(answer, 502)["msg"] == "No exchange answered"
    assert service.json("/prices/btcusdt")["price"] == 100.0


ONE_FAILS = ["hang", "trickle", "close", "garbage", "half", "endless", "500", "404", "refused"]


@pytest.mark.parametrize("fault", ONE_FAILS)
def test_one_exchange_that_fails_leaves_the_price_to_the_others(start, exchanges, fault):
    service = start()
    quote_all(exchanges, "btcusdt", (100.0, 1), (200.0, 3), (999.0, 1000))
    fail(exchanges[2:], fault)
    started = monotonic()
    done = refreshed(service, "btcusdt")
    assert monotonic() - started < IN_TIME_S
    assert (done["price"], done["sources"]) == (175.0, 2)
    heal(exchanges[2:])
    assert refreshed(service, "btcusdt")["sources"] == 3


@pytest.mark.parametrize("fault", [fault for fault in ONE_FAILS if fault != "404"])
def test_all_failing_is_502_and_leaves_the_cache_untouched(start, exchanges, fault):
    service = start()
    quote_all(exchanges, "btcusdt", *[(100.0, 1)] * 3)
    refreshed(service, "btcusdt")
    before = service.json("/prices/btcusdt")
    fail(exchanges, fault)
    started = monotonic()
    answer = refresh(service, "btcusdt")
    assert monotonic() - started < IN_TIME_S
    assert problem(answer, 502)["msg"] == "No exchange answered"
    after = service.json("/prices/btcusdt")
    for told in (before, after):
        told.pop("age_seconds")
        told.pop("stale")
    assert after == before
    heal(exchanges)
    quote_all(exchanges, "btcusdt", *[(101.0, 1)] * 3)
    assert refreshed(service, "btcusdt")["price"] == 101.0


def test_one_answering_not_listed_and_others_nothing_is_502(start, exchanges):
    service = start()
    fail(exchanges[:2], "500")
    fail(exchanges[2:], "404")
    assert problem(refresh(service, "btcusdt"), 502)["msg"] == "No exchange answered"


def test_a_slow_exchange_counts_if_it_keeps_the_deadline(start, exchanges):
    service = start()
    quote_all(exchanges, "btcusdt", (100.0, 1), (200.0, 1), (300.0, 1))
    exchanges[2].fault, exchanges[2].delay_s = "slow", TIMEOUT_S / 2
    assert refreshed(service, "btcusdt")["sources"] == 3
    exchanges[2].delay_s = TIMEOUT_S * 3
    assert refreshed(service, "btcusdt")["sources"] == 2


def test_a_hundred_refreshes_of_one_asset_at_once_ask_each_exchange_once(start, exchanges):
    service = start({"timeout": "5s"})
    quote_all(exchanges, "btcusdt", (100.0, 1), (200.0, 1), (300.0, 1))
    for exchange in exchanges:
        exchange.fault, exchange.delay_s = "slow", 2.0  # so long that all have come
    with ThreadPoolExecutor(100) as pool:
        names = ["btcusdt", "BTCUSDT"] * 50
        answers = list(pool.map(lambda name: refresh(service, name), names))
        assert {answer.status for answer in answers} == {200}
    assert {answer.json["price"] for answer in answers} == {200.0}
    assert asked(exchanges) == [1, 1, 1]


def test_those_who_wait_for_a_refresh_leave_the_pool_to_others(start, exchanges):
    service = start({"timeout": "5s"}, http={"workers": 1})
    fail(exchanges, "hang")
    with ThreadPoolExecutor(30) as pool:
        waiting = [pool.submit(refresh, service, name) for name in NAMES]
        until(lambda: min(asked(exchanges)) >= 1, 5, "questions")
        started = monotonic()
        assert service.ask("/assets/btcusdt/history").status == 200
        assert monotonic() - started < 1.0
        assert {future.result().status for future in waiting} == {502}


def test_connections_are_kept_and_few(start, exchanges):
    service = start()
    for name in NAMES:
        quote_all(exchanges, name, *[(100.0, 1)] * 3)
    before = service.descriptors()
    for _ in range(5):
        for name in NAMES:
            refreshed(service, name)
    assert asked(exchanges) == [5 * len(NAMES)] * 3
    assert all(exchange.connections <= 3 for exchange in exchanges)
    with ThreadPoolExecutor(30) as pool:
        for _ in range(4):
            assert {a.status for a in pool.map(lambda name: refresh(service, name), NAMES)} == {200}
    assert service.descriptors() <= before + 3 * 64
    assert all(exchange.open_connections <= 64 for exchange in exchanges)


def test_an_exchange_that_closed_idle_connections_is_no_failure(start, exchanges):
    service = start()
    quote_all(exchanges, "btcusdt", *[(100.0, 1)] * 3)
    for _ in range(3):
        assert refreshed(service, "btcusdt")["sources"] == 3
        for exchange in exchanges:
            exchange.stop()
            exchange.start()


def test_a_breaker_opens_is_told_and_closes_when_the_exchange_is_back(start, exchanges):
    breaker = {"failures": 3, "open_for": "1s", "probes": 1}
    service = start({"breaker": breaker})
    quote_all(exchanges, "btcusdt", *[(100.0, 1)] * 3)
    refreshed(service, "btcusdt")
    exchanges[0].stop()
    for _ in range(3):
        assert refreshed(service, "btcusdt")["sources"] == 2
    assert state(service, "exchange1") == 2
    assert state(service, "exchange2") == 0
    health = until(lambda: told_of("exchange1", service), TELLS_S, "truth in /health")
    assert health["status"] == "degraded"
    assert service.ask("/health").status == 200

    exchanges[0].start()
    known = len(exchanges[0].asked)
    assert refreshed(service, "btcusdt")["price"] == 100.0  # at rest, and the others answer
    until(lambda: refreshed(service, "btcusdt")["sources"] == 3, 5, "exchange that is back")
    assert len(exchanges[0].asked) > known
    assert state(service, "exchange1") == 0
    until(lambda: not told_of("exchange1", service), TELLS_S, "health that is ok again")
    assert len([line for line in service.log if "exchange1" in line]) <= 6


def test_with_every_breaker_open_the_truth_comes_at_once(start, exchanges):
    service = start({"breaker": {"failures": 1, "open_for": "30s", "probes": 1}})
    quote_all(exchanges, "btcusdt", *[(100.0, 1)] * 3)
    refreshed(service, "btcusdt")
    fail(exchanges, "hang")
    assert refresh(service, "btcusdt").status == 502
    seen = asked(exchanges)
    started = monotonic()
    assert problem(refresh(service, "btcusdt"), 502)["msg"] == "No exchange answered"
    assert monotonic() - started < TIMEOUT_S / 2
    assert asked(exchanges) == seen
    assert service.json("/prices/btcusdt")["price"] == 100.0


def test_not_listing_an_asset_is_no_failure_of_the_exchange(start, exchanges):
    service = start({"breaker": {"failures": 1, "open_for": "30s", "probes": 1}})
    for name in NAMES[:5]:
        assert refresh(service, name).status == 404
    assert [state(service, exchange.name) for exchange in exchanges] == [0, 0, 0]


def test_every_asset_gets_its_price_by_itself_and_hot_ones_again_and_again(start, exchanges):
    for number, name in enumerate(NAMES):
        quote_all(exchanges, name, *[(number + 1.0, 1)] * 3)
    tiers = [
        {"name": "hot", "count": 2, "every": "500ms"},
        {"name": "cold", "every": "1m"},
    ]
    service = start({"refresh": True, "tiers": tiers, "max_quote_age": "10m"})
    wanted = f"/prices?assets={','.join(NAMES)}"
    until(lambda: not service.json(wanted)["missing"], 30, "price of every asset")
    prices = [price["price"] for price in service.json(wanted)["prices"]]
    assert prices == [number + 1.0 for number in range(len(NAMES))]
    hot = [exchanges[0].asked.count(name) for name in NAMES[:2]]
    until(lambda: exchanges[0].asked.count(NAMES[0]) >= hot[0] + 4, 4, "refreshes of a hot asset")
    assert max(exchanges[0].asked.count(name) for name in NAMES[2:]) <= 2
    assert service.total("asset_refreshes_total", tier="hot") >= 4


def fail(exchanges, fault):
    for exchange in exchanges:
        if fault == "refused":
            exchange.stop()
        else:
            exchange.fault = fault


def heal(exchanges):
    for exchange in exchanges:
        exchange.fault = None
        exchange.stop()
        exchange.start()


def state(service, name):
    return service.metrics()[f'exchange_breaker_state{{exchange="{name}"}}']


def told_of(name, service):
    """Return what /health says if it tells of a problem of *name*."""
    health = service.health()
    return health if any(name in sentence for sentence in health["problems"]) else None
