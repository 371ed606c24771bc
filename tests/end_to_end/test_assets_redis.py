"""Aggregated prices and a Redis in any state: memory answers, a refresh tells the truth."""

import json
from contextlib import closing
from time import monotonic, time

import pytest
import redis

from tests.end_to_end.asset_rig import (
    FAST_MS,
    asset_config,
    quote_all,
    refreshed,
    start_exchanges,
    usual_ms,
)
from tests.end_to_end.client import problem
from tests.end_to_end.harness import until
from tests.servers import RedisServer

pytestmark = pytest.mark.slow

KEY = "marketflow:live:asset:btcusdt"
SECRET = "hush-4716"
TELLS_S = 6.0
RETURNS_S = 10.0


@pytest.fixture
def exchanges(cleanup):
    return start_exchanges(cleanup)


@pytest.fixture
def server():
    with RedisServer(password=SECRET) as server:
        yield server


@pytest.fixture
def client(server):
    with closing(redis.Redis(server.host, server.port, password=SECRET, protocol=2)) as client:
        yield client


@pytest.fixture
def prepare(serve, exchanges, server, tmp_path):
    """Prepare a service that shares its prices; takes `assets` and other sections."""

    def prepare(**changes):
        where = {"host": server.host, "port": server.port, "password": SECRET}
        sections = {"cache": {"backend": "redis"}, "redis": where, **changes}
        return serve(asset_config(exchanges, tmp_path, **sections))

    return prepare


def quote(exchanges, price, asset="btcusdt"):
    return quote_all(exchanges, asset, *[(price, 1)] * 3)


def stored(service, exchanges, price, asset="btcusdt"):
    """Refresh *asset* at *price*; returns whether Redis has it, as the service says."""
    quote(exchanges, price, asset)
    done = refreshed(service, asset)
    assert done["price"] == price
    assert done["stored"]["memory"] is True
    assert service.json(f"/prices/{asset}")["price"] == price
    return done["stored"]["redis"]


def test_a_refreshed_price_is_in_redis_for_the_time_to_live(prepare, exchanges, client):
    service = prepare(assets={"ttl": "2m"}).start()
    timestamp = quote(exchanges, 79_450.12)
    assert refreshed(service, "btcusdt")["stored"] == {
        "memory": True,
        "redis": True,
        "history": True,
    }
    found = json.loads(client.get(KEY))
    assert list(found)[:3] == ["asset", "price", "last_updated"]
    assert (found["asset"], found["price"]) == ("btcusdt", 79_450.12)
    assert found["last_updated"] == timestamp
    assert 100_000 < client.pttl(KEY) < 121_000  # the machine's clock may be set meanwhile
    assert stored(service, exchanges, 2.5) is True
    assert json.loads(client.get(KEY))["price"] == 2.5
    assert service.ask("/mode/test", "POST").status == 200
    made_up = refreshed(service, "btcusdt")["price"]
    assert json.loads(client.get(KEY.replace("live", "test")))["price"] == made_up
    assert json.loads(client.get(KEY))["price"] == 2.5


def test_a_price_is_gone_after_its_time_to_live(prepare, exchanges, client):
    service = prepare(assets={"ttl": "1s"}).start()
    quote(exchanges, 1.5)
    refreshed(service, "btcusdt")
    until(lambda: service.ask("/prices/btcusdt").status == 404, 5, "end of the price")
    assert client.get(KEY) is None
    assert problem(service.ask("/prices/btcusdt"), 404)["msg"] == "Asset not found"


def test_a_restart_is_warmed_by_redis(prepare, exchanges):
    service = prepare().start()
    for number, asset in enumerate(("btcusdt", "ethusdt", "adausdt")):
        assert stored(service, exchanges, number + 0.1, asset) is True
    before = service.json("/prices/btcusdt")
    service.terminate()
    for exchange in exchanges:
        exchange.stop()
    service.start()
    until(
        lambda: not service.json("/prices?assets=btcusdt,ethusdt,adausdt")["missing"],
        TELLS_S,
        "prices of before",
    )
    after = service.json("/prices/btcusdt")
    for told in (before, after):
        told.pop("age_seconds")
        told.pop("stale")
    assert after == before
    assert service.ask("/prices/coin1usdt").status == 404


def test_a_miss_is_never_kept_as_a_price_nor_as_a_miss(prepare, exchanges, client):
    service, other = prepare().start(), prepare().start()
    for _ in range(3):
        assert problem(service.ask("/prices/btcusdt"), 404)["msg"] == "Asset not found"
    assert client.get(KEY) is None
    assert stored(other, exchanges, 1.5) is True
    assert service.json("/prices/btcusdt")["price"] == 1.5


TIMES = '"last_updated":1,"timestamp_ms":1,"updated_ms":1,"sources":[]'


@pytest.mark.parametrize(
    "text",
    [
        "79450.12",
        '{"asset":"btcusdt","price":1.5,"last_updated":1696118400}',
        f'{{"asset":"btcusdt","price":-1,{TIMES}}}',
        f'{{"asset":"btcusdt","price":NaN,{TIMES}}}',
        "\x00\xff",
    ],
)
def test_what_another_program_wrote_is_no_price(prepare, exchanges, client, text):
    client.set(KEY, text, px=60_000)
    service = prepare().start()
    assert problem(service.ask("/prices/btcusdt"), 404)["msg"] == "Asset not found"
    assert stored(service, exchanges, 1.5) is True
    assert not service.tracebacks()


def away(service):
    """Wait until /health tells that Redis does not answer."""

    def told():
        health = service.health()
        assert SECRET not in json.dumps(health)
        return health["status"] == "degraded" and any("redis" in p for p in health["problems"])

    until(told, TELLS_S, "truth in /health")
    assert service.ask("/health").status == 200


def back(service, exchanges, client, price):
    until(lambda: stored(service, exchanges, price) is True, RETURNS_S, "Redis that is back")
    assert json.loads(client.get(KEY))["price"] == price
    until(lambda: not service.health()["problems"], TELLS_S, "health that is ok again")
    assert not [line for line in service.log if SECRET in line]
    assert not service.tracebacks()


def test_a_killed_redis_costs_no_answer_and_a_refresh_tells(prepare, exchanges, server, client):
    service = prepare().start()
    assert stored(service, exchanges, 1.5) is True
    server.kill()
    assert service.json("/prices/btcusdt")["price"] == 1.5
    assert stored(service, exchanges, 2.5) is False
    away(service)
    assert usual_ms(service, "/prices/btcusdt") < FAST_MS
    assert usual_ms(service, "/prices/coin9usdt", status=404) < FAST_MS
    server.start()
    # what was refreshed meanwhile arrives without being asked for again
    until(lambda: client.get(KEY) is not None, RETURNS_S, "price of the outage")
    assert json.loads(client.get(KEY))["price"] == 2.5
    back(service, exchanges, client, 3.5)


def test_a_hanging_redis_costs_no_answer_and_a_refresh_tells(prepare, exchanges, server, client):
    service = prepare().start()
    assert stored(service, exchanges, 1.5) is True
    server.pause()
    started = monotonic()
    assert stored(service, exchanges, 2.5) is False
    assert monotonic() - started < 2.5
    away(service)
    assert usual_ms(service, "/prices/btcusdt") < FAST_MS
    assert usual_ms(service, "/prices/coin9usdt", status=404) < FAST_MS
    assert usual_ms(service, "/prices?assets=btcusdt,ethusdt") < FAST_MS
    started = monotonic()
    assert stored(service, exchanges, 2.75) is False
    assert monotonic() - started < 1.0  # it is known to be away: nobody waits for it
    server.resume()
    back(service, exchanges, client, 3.5)


def test_a_redis_that_is_down_at_the_start_is_used_when_it_comes(
    prepare, exchanges, server, client
):
    server.kill()
    service = prepare().start()
    assert problem(service.ask("/prices/btcusdt"), 404)["msg"] == "Asset not found"
    assert stored(service, exchanges, 1.5) is False
    away(service)
    server.start()
    back(service, exchanges, client, 2.5)


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("requirepass", "another")])
def test_a_redis_that_refuses_writes_costs_no_answer(prepare, exchanges, server, client, setting):
    service = prepare().start()
    assert stored(service, exchanges, 1.5) is True
    name, value = setting
    client.config_set(name, value)
    if name == "requirepass":
        client.client_kill_filter(skipme=True, _type="normal")
    assert stored(service, exchanges, 2.5) is False
    away(service)
    assert service.json("/prices/btcusdt")["price"] == 2.5
    client.config_set(name, SECRET if name == "requirepass" else "0")
    back(service, exchanges, client, 3.5)


def test_what_redis_gave_is_as_old_as_it_is(prepare, exchanges, client):
    service = prepare().start()
    made = quote_all(exchanges, "btcusdt", *[(1.5, 1)] * 3, age_s=40)
    refreshed(service, "btcusdt")
    left_ms = client.pttl(KEY)
    service.terminate()
    service.start()
    until(lambda: service.ask("/prices/btcusdt").status == 200, TELLS_S, "price of before")
    found = service.json("/prices/btcusdt")
    assert found["last_updated"] == made
    assert abs(found["age_seconds"] - (time() - made)) < 2
    assert found["stale"] is True
    assert client.pttl(KEY) <= left_ms
