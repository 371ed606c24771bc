"""The list of assets, their history, and the two modes that never mix."""

import re
from datetime import UTC, datetime
from time import time

import pytest

from tests.end_to_end.asset_rig import (
    NAMES,
    asked,
    asset_config,
    quote_all,
    refreshed,
    service_without_exchanges,
    start_exchanges,
)
from tests.end_to_end.client import problem
from tests.end_to_end.harness import until

pytestmark = pytest.mark.slow


@pytest.fixture
def exchanges(cleanup):
    return start_exchanges(cleanup)


@pytest.fixture
def prepare(serve, exchanges, tmp_path):
    """Prepare a service that asks the exchanges; takes `assets` and other sections."""

    def prepare(**changes):
        return serve(asset_config(exchanges, tmp_path, **changes))

    return prepare


@pytest.fixture(scope="module")
def asset_service(tmp_path_factory):
    """Start a service that many tests only ask; nobody quotes anything."""
    with service_without_exchanges(tmp_path_factory.mktemp("assets")) as service:
        yield service


def make_history(service, exchanges, asset="btcusdt", ages_s=(50, 30, 40, 20, 10)):
    """Refresh *asset* once for each age; returns [(timestamp, price)], newest first."""
    items = []
    for number, age_s in enumerate(ages_s):
        timestamp = quote_all(exchanges, asset, *[(100.0 + number, 1)] * 3, age_s=age_s)
        assert refreshed(service, asset)["stored"]["history"] is True
        items.append((timestamp, 100.0 + number))
    return sorted(items, reverse=True)


def history(service, query="", asset="btcusdt"):
    answer = service.json(f"/assets/{asset}/history{query}")
    assert answer["asset"] == asset
    for item in answer["items"]:
        assert item["asset"] == asset
        assert abs(item["updated_at"] - time()) < 120
    return [(item["timestamp"], item["price"]) for item in answer["items"]]


def test_the_history_is_newest_first_and_survives_restarts(prepare, exchanges):
    service = prepare().start()
    expected = make_history(service, exchanges)
    assert history(service) == expected
    assert history(service, asset="ethusdt") == []
    service.terminate()
    service.start()
    assert history(service) == expected
    expected = sorted([*make_history(service, exchanges, ages_s=(5,)), *expected], reverse=True)
    until(lambda: history(service) == expected, 5, "history with old and new")
    service.kill()
    service.start()
    # what was refreshed a moment before may be lost with the process
    assert history(service) in (expected, expected[1:])


def test_a_second_is_there_once_with_the_price_made_last(prepare, exchanges):
    service = prepare().start()
    timestamp = int(time()) - 20
    for price in (1.5, 3.5, 2.5):
        for exchange in exchanges:
            exchange.quote("btcusdt", price, 1, timestamp=timestamp)
        refreshed(service, "btcusdt")
    assert history(service) == [(timestamp, 2.5)]
    service.terminate()
    service.start()
    assert history(service) == [(timestamp, 2.5)]


def test_a_part_of_the_history_can_be_asked_for_in_every_notation(prepare, exchanges):
    service = prepare().start()
    items = make_history(service, exchanges)
    newest, second, _, fourth, _ = (timestamp for timestamp, _ in items)
    assert history(service, "?limit=2") == items[:2]
    for write in (str, lambda at: str(at * 1000), rfc_3339):
        assert history(service, f"?from={write(second)}") == items[:2]
        assert history(service, f"?to={write(newest)}") == items[1:]
        between = f"?from={write(fourth)}&to={write(newest)}"
        assert history(service, between) == items[1:4]
        assert history(service, f"{between}&limit=1") == items[1:2]
    assert history(service, f"?to={newest - 1000}") == []


def rfc_3339(at):
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=-1", "limit=x", "limit=", "limit=1&limit=1", "limit=100000"),
        *("from=yesterday", "from=", "to=NaN", "from=1&from=2"),
    ],
)
def test_a_bad_part_is_400_and_named(asset_service, query):
    answer = asset_service.ask(f"/assets/btcusdt/history?{query}")
    assert query.partition("=")[0] in problem(answer, 400)["detail"]


def test_the_history_of_an_unknown_asset_is_400_in_the_briefs_words(asset_service):
    answer = asset_service.ask("/assets/nosuchasset/history")
    assert problem(answer, 400)["msg"] == "Invalid asset symbol"


def test_the_assets_are_listed_in_order_with_tier_and_last_update(prepare, exchanges):
    service = prepare().start()
    quote_all(exchanges, "ethusdt", *[(100.0, 1)] * 3)
    refreshed(service, "ethusdt")
    answer = service.json("/assets?limit=1000")
    assert [one["asset"] for one in answer["assets"]] == list(NAMES)
    tiers = ["hot"] * 3 + ["medium"] * 7 + ["cold"] * 20
    assert [one["tier"] for one in answer["assets"]] == tiers
    assert not answer.get("next_cursor")
    updates = {one["asset"]: one["last_updated"] for one in answer["assets"]}
    assert abs(updates.pop("ethusdt") - time()) < 10
    assert set(updates.values()) == {None}


@pytest.mark.parametrize(("tier", "limit"), [(None, 7), (None, 30), ("cold", 6), ("medium", 7)])
def test_the_list_can_be_read_in_pages(asset_service, tier, limit):
    path = f"/assets?limit={limit}" + (f"&tier={tier}" if tier else "")
    found = []
    while path:
        answer = asset_service.ask(path)
        page = answer.json["assets"]
        assert 0 < len(page) <= limit
        found += [one["asset"] for one in page]
        link = answer.headers.get("link")
        assert (link is not None) == bool(answer.json.get("next_cursor"))
        path = None
        if link is not None:
            path = re.fullmatch(r'<([^>]+)>; rel="next"', link)[1]
            assert len(page) == limit
    where = {None: NAMES, "medium": NAMES[3:10], "cold": NAMES[10:]}
    assert found == list(where[tier])


@pytest.mark.parametrize("query", ["tier=warm", "tier=", "limit=0", "limit=x", "cursor=%FF%00"])
def test_a_bad_page_is_400_and_named(asset_service, query):
    answer = asset_service.ask(f"/assets?{query}")
    assert query.partition("=")[0] in problem(answer, 400)["detail"]


def test_the_modes_never_mix(prepare, exchanges):
    service = prepare().start()
    quote_all(exchanges, "btcusdt", *[(1.5, 1)] * 3)
    refreshed(service, "btcusdt")
    live = history(service)

    assert service.ask("/mode/test", "POST").status == 200
    assert problem(service.ask("/prices/btcusdt"), 404)["msg"] == "Asset not found"
    assert history(service) == []
    done = refreshed(service, "btcusdt")
    assert done["price"] > 2  # bitcoin's: made up in the process
    assert asked(exchanges) == [1, 1, 1]
    assert service.json("/prices/btcusdt")["price"] == done["price"]
    assert [price for _, price in history(service)] == [done["price"]]

    assert service.ask("/mode/live", "POST").status == 200
    assert service.json("/prices/btcusdt")["price"] == 1.5
    assert history(service) == live


def test_the_test_mode_needs_no_exchange_and_knows_every_asset(prepare, exchanges):
    service = prepare(mode="test").start()
    for name in NAMES[:4]:
        done = refreshed(service, name)
        assert done["sources"] == 3
        sources = service.json(f"/prices/{name}")["sources"]
        assert [source["exchange"] for source in sources] == [one.name for one in exchanges]
        prices = [source["price"] for source in sources]
        assert min(prices) <= done["price"] <= max(prices)
        assert max(prices) < 1.1 * min(prices)
    assert asked(exchanges) == [0, 0, 0]
