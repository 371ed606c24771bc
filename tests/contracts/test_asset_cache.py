"""What every cache of aggregated prices promises."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from marketflow.adapters.cache.redis_assets import RedisAssets
from marketflow.adapters.clock import SystemClock
from marketflow.application.asset_ports import CachedPrice
from marketflow.domain.asset import AssetPrice, Quote, Source
from marketflow.domain.errors import CacheUnavailable
from marketflow.domain.mode import Mode
from tests.end_to_end.harness import until
from tests.fake_assets import MemoryAssetCache
from tests.servers import RedisServer

NOON_MS = 1_746_446_400_000
TTL_MS = 300_000


class InMemory:
    """A `MemoryAssetCache` in real time."""

    def __init__(self):
        self.cache = MemoryAssetCache(SystemClock(max_step_ms=60_000))

    @contextlib.contextmanager
    def outage(self):
        self.cache.down = "away"
        yield
        self.cache.down = None

    def close(self):
        self.cache.close()


class InRedis:
    """A `RedisAssets` and a server, emptied."""

    def __init__(self, server):
        self._server = server
        self.cache = RedisAssets(server.host, server.port)
        with redis.Redis(server.host, server.port, protocol=2) as client:
            client.flushall()

    @contextlib.contextmanager
    def outage(self):
        self._server.kill()
        yield
        self._server.start()

    def close(self):
        self.cache.close()


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def place(request):
    if request.param == "memory":
        place = InMemory()
    else:
        place = InRedis(request.getfixturevalue("server"))
    yield place
    place.close()


@pytest.fixture
def cache(place):
    return place.cache


def cached(asset="btcusdt", price=79_450.12, at_ms=NOON_MS, ttl_ms=TTL_MS, sources=()):
    return CachedPrice(AssetPrice(asset, price, at_ms, at_ms + 17, tuple(sources)), ttl_ms)


def test_an_empty_cache_has_no_price_of_any_asset(cache):
    assert cache.get(Mode.LIVE, "btcusdt") is None
    assert cache.everything(Mode.LIVE, ["btcusdt", "ethusdt"]) == []
    assert cache.everything(Mode.LIVE, []) == []


@pytest.mark.parametrize("value", [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 79_450.0, 1e-07])
@pytest.mark.parametrize("volume", [None, 0.0, 1 / 3, 1e300])
def test_a_price_comes_back_to_the_bit_with_its_sources(cache, value, volume):
    quotes = [
        Quote("exchange1", value, volume, NOON_MS - 1),
        Quote("Exchange_2.x-y", 1.5, 2.0, NOON_MS),
    ]
    sources = [Source(quote, used) for quote, used in zip(quotes, (True, False), strict=True)]
    put = cached(price=value, sources=sources)
    cache.put(Mode.LIVE, [put])
    found = cache.get(Mode.LIVE, "btcusdt")
    assert repr(found.price) == repr(put.price)
    (again,) = cache.everything(Mode.LIVE, ["btcusdt"])
    assert again.price == put.price


def test_the_remaining_time_is_told(cache):
    cache.put(Mode.LIVE, [cached(ttl_ms=60_000), cached("ethusdt", ttl_ms=5_000)])
    assert 50_000 < cache.get(Mode.LIVE, "btcusdt").ttl_ms <= 60_000
    (other,) = cache.everything(Mode.LIVE, ["ethusdt"])
    assert 0 < other.ttl_ms <= 5_000


@pytest.mark.parametrize("ttl_ms", [1, 0, -5])
def test_a_price_is_gone_after_its_time_and_what_it_replaced_with_it(cache, ttl_ms):
    cache.put(Mode.LIVE, [cached()])
    cache.put(Mode.LIVE, [cached(ttl_ms=ttl_ms)])
    until(lambda: cache.get(Mode.LIVE, "btcusdt") is None, 5, "expiry")
    assert cache.everything(Mode.LIVE, ["btcusdt"]) == []


def test_a_price_put_later_replaces_the_earlier_one_and_its_time(cache):
    cache.put(Mode.LIVE, [cached(price=1.0, ttl_ms=1_000), cached("ethusdt")])
    cache.put(Mode.LIVE, [cached(price=2.0, at_ms=NOON_MS - 60_000)])
    found = cache.get(Mode.LIVE, "btcusdt")
    assert found.price == cached(price=2.0, at_ms=NOON_MS - 60_000).price
    assert found.ttl_ms > 1_000
    assert cache.get(Mode.LIVE, "ethusdt").price == cached("ethusdt").price


def test_the_modes_never_mix(cache):
    cache.put(Mode.LIVE, [cached(price=1.0)])
    assert cache.get(Mode.TEST, "btcusdt") is None
    cache.put(Mode.TEST, [cached(price=2.0)])
    assert cache.get(Mode.LIVE, "btcusdt").price.price == 1.0
    assert [one.price.price for one in cache.everything(Mode.TEST, ["btcusdt"])] == [2.0]


def test_what_there_is_of_thousands_comes_back(cache):
    names = [f"symbol{n}" for n in range(2_500)]
    put = [cached(name, float(n + 1)) for n, name in enumerate(names) if n % 3]
    cache.put(Mode.LIVE, put)
    found = cache.everything(Mode.LIVE, names)
    assert {one.price.asset: one.price for one in found} == {
        one.price.asset: one.price for one in put
    }
    assert len(found) == len(put)


def test_a_ping_leaves_nothing_behind(cache):
    cache.ping()
    assert cache.everything(Mode.LIVE, ["btcusdt", "ping"]) == []


def test_several_threads_use_it_at_once(cache):
    def use(number):
        asset = f"symbol{number % 7}"
        cache.put(Mode.LIVE, [cached(asset, float(number + 1))])
        return cache.get(Mode.LIVE, asset).price.asset == asset

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(200)))


def test_a_cache_that_is_away_says_so_and_works_again_afterwards(place, cache):
    cache.put(Mode.LIVE, [cached()])
    with place.outage():
        for use in (
            cache.ping,
            lambda: cache.get(Mode.LIVE, "btcusdt"),
            lambda: cache.everything(Mode.LIVE, ["btcusdt"]),
            lambda: cache.put(Mode.LIVE, [cached()]),
        ):
            with pytest.raises(CacheUnavailable):
                use()
    cache.put(Mode.LIVE, [cached()])
    assert cache.get(Mode.LIVE, "btcusdt").price == cached().price


def test_closing_twice_is_as_good_as_once(cache):
    cache.ping()
    cache.close()
    cache.close()
