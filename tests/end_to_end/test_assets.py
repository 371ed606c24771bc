"""Aggregated prices as any client sees them: the formula, the brief's words, the conventions."""

import re
from time import time

import pytest

from tests.end_to_end.asset_rig import (
    NAMES,
    asked,
    asset_config,
    formula,
    quote_all,
    refresh,
    refreshed,
    service_without_exchanges,
    start_exchanges,
)
from tests.end_to_end.client import problem

pytestmark = pytest.mark.slow

QUOTES = ((79_450.12, 1.25), (79_503.777, 0.1), (79_399.5, 12.75))


@pytest.fixture
def exchanges(cleanup):
    return start_exchanges(cleanup)


@pytest.fixture
def start(serve, exchanges, tmp_path):
    """Start a service that asks the exchanges; takes `assets` and other sections."""

    def start(**changes):
        return serve(asset_config(exchanges, tmp_path, **changes)).start()

    return start


@pytest.fixture(scope="module")
def asset_service(tmp_path_factory):
    """Start a service that many tests only ask; nobody quotes anything."""
    with service_without_exchanges(tmp_path_factory.mktemp("assets")) as service:
        yield service


def test_a_refresh_makes_the_price_of_the_formula_and_everybody_reads_it(start, exchanges):
    service = start()
    timestamp = quote_all(exchanges, "btcusdt", *QUOTES)
    done = refreshed(service, "btcusdt")
    assert done["message"] == "Price for btcusdt refreshed"
    assert (done["asset"], done["sources"]) == ("btcusdt", 3)
    assert done["price"] == pytest.approx(formula(*QUOTES), rel=1e-12, abs=0)
    assert done["stored"] == {"memory": True, "redis": None, "history": True}

    answer = service.ask("/prices/btcusdt")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json
    assert list(found)[:3] == ["asset", "price", "last_updated"]
    assert (found["asset"], found["price"]) == ("btcusdt", done["price"])
    assert (found["last_updated"], found["tier"], found["stale"]) == (timestamp, "hot", False)
    assert 0 <= found["age_seconds"] <= time() - timestamp + 1
    assert found["sources"] == [
        {
            "exchange": exchange.name,
            "price": price,
            "volume": volume,
            "timestamp": timestamp,
            "used": True,
        }
        for exchange, (price, volume) in zip(exchanges, QUOTES, strict=True)
    ]
    assert asked(exchanges) == [1, 1, 1]


@pytest.mark.parametrize(
    ("quotes", "expected"),
    [
        (((100.0, 3), (200.0, 1), (300.0, 0)), 125.0),
        (((100.0, 0), (200.0, 0), (400.0, 0)), 700 / 3),
        (((100.0, None), (200.0, None), (400.0, None)), 700 / 3),
        (((100.0, None), (200.0, 2), (400.0, 0)), 200.0),
        (((1e-08, 1e15), (3e-08, 1e15), (2e-08, 1e-15)), 2e-08),
        ((("100.5", "1"), (200.5, 1), (300.5, 1)), 200.5),
        (((-1.0, 9), (0, 9), (7.5, 1)), 7.5),
        (((100.0, -1), ("NaN", 1), (7.5, 1)), 7.5),
        (((True, 1), ({}, 1), (7.5, 1)), 7.5),
        (((1e400, 1), ("1e400", 1), (7.5, 1)), 7.5),
    ],
)
def test_what_counts_and_how_much(start, exchanges, quotes, expected):
    service = start()
    quote_all(exchanges, "btcusdt", *quotes)
    price = refreshed(service, "btcusdt")["price"]
    assert price == pytest.approx(expected, rel=1e-12, abs=0)


def test_a_quote_that_is_too_old_does_not_count_and_is_shown_as_unused(start, exchanges):
    service = start()
    quote_all(exchanges[:2], "btcusdt", (100.0, 1), (300.0, 1))
    quote_all(exchanges[2:], "btcusdt", (900.0, 1), age_s=70)
    done = refreshed(service, "btcusdt")
    assert (done["price"], done["sources"]) == (200.0, 2)
    sources = service.json("/prices/btcusdt")["sources"]
    assert [source["used"] for source in sources] == [True, True, False]
    quote_all(exchanges, "btcusdt", *QUOTES, age_s=70)
    assert problem(refresh(service, "btcusdt"), 502)["msg"] == "No exchange answered"
    assert service.json("/prices/btcusdt")["price"] == 200.0


def test_the_quorum_and_the_greatest_deviation_are_kept(start, exchanges):
    service = start(assets={"min_sources": 2, "max_deviation": 0.1})
    quote_all(exchanges, "btcusdt", (100.0, 1), (102.0, 1), (150.0, 1000))
    done = refreshed(service, "btcusdt")
    assert (done["price"], done["sources"]) == (101.0, 2)
    sources = service.json("/prices/btcusdt")["sources"]
    assert [source["used"] for source in sources] == [True, True, False]
    exchanges[0].stop()
    exchanges[1].stop()
    assert problem(refresh(service, "btcusdt"), 502)["msg"] == "No exchange answered"
    assert service.json("/prices/btcusdt")["price"] == 101.0


def test_without_a_greatest_deviation_every_quote_counts(start, exchanges):
    service = start()
    quote_all(exchanges, "btcusdt", (100.0, 1), (102.0, 1), (1_000_000.0, 1))
    assert refreshed(service, "btcusdt")["price"] == pytest.approx(1_000_202 / 3, rel=1e-12)


def test_an_asset_is_the_same_in_any_case(start, exchanges):
    service = start()
    quote_all(exchanges, "btcusdt", *QUOTES)
    assert refreshed(service, "BTCUSDT")["message"] == "Price for btcusdt refreshed"
    answers = [service.json(f"/prices/{name}") for name in ("btcusdt", "BTCUSDT", "bTcUsDt")]
    for answer in answers:
        answer.pop("age_seconds")  # a second may pass between two
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    "name",
    [
        *("nosuchasset", "btc", "btcusdt%20", "%20", "symbol", "btcusdt,ethusdt", "x" * 3000),
        *("%3Cscript%3E", "..%2f..%2fetc", "btcusdt%00", "btcusdt%0d%0aX-Evil:%201", "*", "-"),
        "%E2%82%BF",
    ],
)
@pytest.mark.parametrize(("method", "route"), [("GET", "prices"), ("POST", "refresh")])
def test_an_unknown_asset_is_400_in_the_briefs_words(asset_service, method, route, name):
    answer = asset_service.ask(f"/{route}/{name}", method)
    assert problem(answer, 400)["msg"] == "Invalid asset symbol"
    assert "x-evil" not in answer.headers


def test_an_asset_without_a_price_is_404_in_the_briefs_words(asset_service):
    assert problem(asset_service.ask("/prices/ethusdt"), 404)["msg"] == "Asset not found"


def test_an_asset_that_no_exchange_lists_is_404(start, exchanges):
    service = start()
    assert problem(refresh(service, "adausdt"), 404)["msg"] == "Asset not found"
    assert problem(service.ask("/prices/adausdt"), 404)["msg"] == "Asset not found"
    assert asked(exchanges) == [1, 1, 1]


def test_an_asset_that_some_exchanges_list_has_a_price(start, exchanges):
    service = start()
    exchanges[1].quote("adausdt", 0.5, 7)
    done = refreshed(service, "adausdt")
    assert (done["price"], done["sources"]) == (0.5, 1)


def test_looking_never_asks_an_exchange(start, exchanges):
    service = start()
    quote_all(exchanges, "btcusdt", *QUOTES)
    for path in ("/prices/btcusdt", "/prices?assets=btcusdt,ethusdt", "/assets"):
        service.ask(path)
    assert asked(exchanges) == [0, 0, 0]


def test_every_route_answers_as_the_conventions_say(start, exchanges):
    service = start()
    quote_all(exchanges, "btcusdt", *QUOTES)
    refreshed(service, "btcusdt")
    for path in ("/prices/btcusdt", "/prices?assets=btcusdt", "/assets", _HISTORY):
        got, head, options = (service.ask(path, method) for method in ("GET", "HEAD", "OPTIONS"))
        assert got.status == head.status == 200, (path, got)
        assert head.body == b""
        assert int(got.headers["content-length"]) == len(got.body)
        assert options.status == 204
        assert set(options.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        refused = service.ask(path, "POST")
        problem(refused, 405)
        assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        refused = service.ask("/refresh/btcusdt", method)
        assert refused.status == 405
        assert set(refused.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    assert service.ask("/refresh/btcusdt", "OPTIONS").status == 204
    assert asked(exchanges) == [1, 1, 1]


_HISTORY = "/assets/btcusdt/history"


def test_a_refresh_wants_the_admin_token_if_there_is_one(start, exchanges):
    service = start(http={"admin_token": "hush-4715"})
    quote_all(exchanges, "btcusdt", *QUOTES)
    for headers in ({}, {"authorization": "Bearer hush"}, {"authorization": "hush-4715"}):
        answer = refresh(service, "btcusdt", **headers)
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert b"hush-4715" not in answer.body
    assert asked(exchanges) == [0, 0, 0]
    assert refresh(service, "btcusdt", authorization="Bearer hush-4715").status == 200
    assert service.ask("/prices/btcusdt").status == 200
    assert not [line for line in service.log if "hush-4715" in line]


def test_a_refresh_that_another_site_asks_for_is_refused(start, exchanges):
    service = start()
    answer = refresh(service, "btcusdt", origin="http://evil.example")
    problem(answer, 403)
    assert asked(exchanges) == [0, 0, 0]


def test_several_prices_come_in_one_answer_and_the_others_are_named(start, exchanges):
    service = start()
    for number, name in enumerate(NAMES[:3]):
        quote_all(exchanges, name, *[(number + 1.5, 1)] * 3)
        refreshed(service, name)
    asking = "/prices?assets=adausdt,BTCUSDT,nosuchasset,coin3usdt"
    found = service.json(asking)
    assert [price["asset"] for price in found["prices"]] == ["adausdt", "btcusdt"]
    assert [price["price"] for price in found["prices"]] == [3.5, 1.5]
    assert {"last_updated", "tier", "age_seconds", "stale", "sources"} < set(found["prices"][0])
    assert found["missing"] == ["nosuchasset", "coin3usdt"]
    assert service.ask(asking).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?assets", 400),
        ("?assets=", 400),
        ("?assets=btcusdt&assets=ethusdt", 400),
        ("?assets=%zz", 400),
        ("?assets=" + ",".join(f"n{number}" for number in range(201)), 400),
        ("?assets=" + ",".join(f"n{number}" for number in range(200)), 200),
        ("?assets=btcusdt&unknown=1", 200),
    ],
)
def test_the_names_of_several_assets_are_checked(asset_service, query, status):
    answer = asset_service.ask(f"/prices{query}")
    if status == 400:
        assert "assets" in problem(answer, 400)["detail"]
    assert answer.status == status


def test_the_metrics_and_the_health_tell_of_refreshes(start, exchanges):
    service = start()
    quote_all(exchanges, "btcusdt", *QUOTES)
    refreshed(service, "btcusdt")
    refresh(service, "coin20usdt")
    assert service.total("asset_refreshes_total", tier="hot") == 1
    assert service.total("asset_refreshes_total", tier="cold") == 1
    states = {
        re.search(r'="([^"]+)"', sample)[1]: value
        for sample, value in service.metrics().items()
        if sample.startswith("exchange_breaker_state")
    }
    assert states == {exchange.name: 0.0 for exchange in exchanges}
    assert (service.health()["status"], service.health()["problems"]) == ("ok", [])
    samples = service.metrics()
    routes = {re.search(r'route="([^"]+)"', sample)[1] for sample in samples if "route=" in sample}
    assert "/refresh/{asset}" in routes
