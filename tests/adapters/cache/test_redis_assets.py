import json
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from marketflow.adapters.cache.redis_assets import RedisAssets
from marketflow.application.asset_ports import CachedPrice
from marketflow.domain.asset import AssetPrice, Quote, Source
from marketflow.domain.errors import CacheUnavailable
from marketflow.domain.mode import Mode
from tests.adapters.cache.foreign_prices import FOREIGN, NOON_MS, VALUE
from tests.adapters.cache.redis_reader import RedisReader
from tests.end_to_end.harness import until
from tests.proxy import Proxy
from tests.servers import RedisServer, free_port

KEY = "marketflow:live:asset:btcusdt"
SECRET = "hunter2-Wq"
PRICE = CachedPrice(
    AssetPrice(
        "btcusdt",
        1.25,
        NOON_MS,
        NOON_MS,
        (Source(Quote("exchange1", 1.25, 7.5, NOON_MS), used=True),),
    ),
    300_000,
)


@pytest.fixture(scope="module")
def shared():
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared):
    with RedisReader(shared) as reader:
        reader.client.flushall()
        yield shared
        reader.client.config_set("maxmemory", 0)
        reader.client.replicaof("NO", "ONE")


@pytest.fixture
def admin(server):
    with RedisReader(server) as reader:
        yield reader.client


@pytest.fixture
def open_cache():
    caches = []

    def open_cache(place, **options):
        cache = RedisAssets(place.host, place.port, **options)
        caches.append(cache)
        return cache

    yield open_cache
    for cache in caches:
        cache.close()


@pytest.fixture
def cache(server, open_cache):
    return open_cache(server)


def uses(cache):
    return (
        cache.ping,
        lambda: cache.get(Mode.LIVE, "btcusdt"),
        lambda: cache.everything(Mode.LIVE, ["btcusdt"]),
        lambda: cache.put(Mode.LIVE, [PRICE]),
    )


def refusal(use):
    with pytest.raises(CacheUnavailable) as caught:
        use()
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


def quickest_s(use):
    def took_s():
        started = monotonic()
        use()
        return monotonic() - started

    return min(took_s() for _ in range(3))


def number_of_clients(admin):
    return len(admin.client_list())


def test_a_price_reads_as_documented_the_briefs_fields_first(cache, admin):
    cache.put(Mode.LIVE, [PRICE])
    assert admin.keys() == [KEY.encode()]
    assert admin.get(KEY).decode() == (
        '{"asset":"btcusdt","price":1.25,"last_updated":1746446400,"timestamp_ms":1746446400000,'
        '"updated_ms":1746446400000,"sources":[{"exchange":"exchange1","price":1.25,"volume":7.5,'
        '"timestamp_ms":1746446400000,"used":true}]}'
    )
    assert 299_000 < admin.pttl(KEY) <= 300_000


def test_what_another_program_wrote_is_no_price_and_no_exception(cache, admin):
    admin.set(KEY, json.dumps(VALUE), px=60_000)
    assert cache.get(Mode.LIVE, "btcusdt").price == PRICE.price
    for text in FOREIGN:
        admin.set(KEY, text, px=60_000)
        assert cache.get(Mode.LIVE, "btcusdt") is None, text[:200]
        assert cache.everything(Mode.LIVE, ["btcusdt"]) == [], text[:200]


def test_a_key_of_another_kind_is_a_miss_until_a_price_replaces_it(cache, admin):
    admin.hset(KEY, "price", "1.5")
    assert cache.get(Mode.LIVE, "btcusdt") is None
    assert cache.everything(Mode.LIVE, ["ethusdt", "btcusdt"]) == []
    cache.put(Mode.LIVE, [PRICE])
    assert cache.get(Mode.LIVE, "btcusdt").price == PRICE.price


def test_a_price_somebody_made_to_stay_for_ever_is_none(cache, admin):
    cache.put(Mode.LIVE, [PRICE])
    admin.persist(KEY)
    assert cache.get(Mode.LIVE, "btcusdt") is None


def test_a_ping_leaves_no_key(cache, admin):
    cache.ping()
    assert admin.keys() == []


def test_every_use_is_one_round_trip_and_a_thousand_assets_are_one(server, open_cache):
    many = [PRICE._replace(price=PRICE.price._replace(asset=f"symbol{n}")) for n in range(1_000)]
    with Proxy(server.host, server.port) as proxy:
        cache = open_cache(proxy, timeout_s=5)
        cache.ping()
        proxy.delay(0.1)
        for use in uses(cache):
            assert 0.2 <= quickest_s(use) < 0.4
        names = [one.price.asset for one in many]
        for use in (
            lambda: cache.put(Mode.LIVE, many),
            lambda: cache.everything(Mode.LIVE, names),
        ):
            # a few hundred KiB pass the proxy in pieces, each of them delayed
            assert 0.2 <= quickest_s(use) < 2.0
        proxy.heal()
        assert proxy.connections == 1


def test_nothing_listening_is_told_in_one_sentence(open_cache):
    class Nowhere:
        host, port = "127.0.0.1", free_port()

    for use in uses(open_cache(Nowhere)):
        assert refusal(use) == f"redis at 127.0.0.1:{Nowhere.port}: Connection refused"


def test_a_hanging_server_costs_one_timeout(server, cache):
    cache.ping()
    server.pause()
    try:
        for use in uses(cache):
            started = monotonic()
            assert refusal(use).endswith(": no answer within 0.5 s")
            assert 0.4 < monotonic() - started < 0.8
    finally:
        server.resume()
    cache.put(Mode.LIVE, [PRICE])
    assert cache.get(Mode.LIVE, "btcusdt").price == PRICE.price


def test_with_a_hanging_server_every_one_of_many_threads_is_told_in_time(server, cache):
    def wait():
        started = monotonic()
        return refusal(lambda: cache.get(Mode.LIVE, "btcusdt")), monotonic() - started

    server.pause()
    try:
        with ThreadPoolExecutor(16) as pool:
            found = [future.result() for future in [pool.submit(wait) for _ in range(16)]]
    finally:
        server.resume()
    assert max(took for _, took in found) < 1.3
    reasons = {message.split(": ", 1)[1] for message, _ in found}
    assert reasons <= {"no answer within 0.5 s", "all 4 connections are in use"}
    cache.ping()


def test_there_are_never_more_connections_than_agreed(cache, admin):
    before = number_of_clients(admin)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: cache.put(Mode.LIVE, [PRICE]), range(400)))
    assert before < number_of_clients(admin) <= before + 4


def test_after_a_failure_no_connection_of_that_time_is_trusted(cache, admin):
    before = number_of_clients(admin)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: cache.ping(), range(400)))
    admin.config_set("maxmemory", 1)
    refusal(cache.ping)
    until(lambda: number_of_clients(admin) == before, 5, "end of every connection")


def test_a_connection_that_ended_while_idle_is_no_failure(cache, admin):
    cache.ping()
    for use in uses(cache):
        assert admin.client_kill_filter(_type="normal", skipme=True) >= 1
        use()


def test_a_server_that_was_restarted_is_found_at_once(server, cache):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.ping(), range(100)))
    server.kill()
    server.start()
    for use in uses(cache):
        use()


def test_an_answer_that_comes_too_late_is_nobody_elses(server, open_cache):
    other = PRICE._replace(price=PRICE.price._replace(asset="ethusdt", price=9.5))
    with Proxy(server.host, server.port) as proxy:
        cache = open_cache(proxy)
        cache.put(Mode.LIVE, [PRICE, other])
        proxy.delay(0.7)
        refusal(lambda: cache.get(Mode.LIVE, "btcusdt"))
        proxy.heal()
        assert cache.get(Mode.LIVE, "ethusdt").price == other.price


@pytest.mark.parametrize("password", ["", None, SECRET, SECRET + "x"])
def test_a_server_with_a_password_wants_that_password(open_cache, password):
    with RedisServer(password=SECRET) as server:
        cache = open_cache(server, password=password)
        if password == SECRET:
            cache.ping()
            return
        for use in uses(cache):
            message = refusal(use)
            assert (
                "Authentication required" in message or "invalid username-password pair" in message
            )


def test_rights_on_three_commands_and_our_keys_are_enough(server, open_cache, admin):
    rights = ["~marketflow:*", "+set", "+mget", "+pttl"]
    admin.execute_command("ACL", "SETUSER", "keeper", "on", f">{SECRET}", *rights)
    cache = open_cache(server, username="keeper", password=SECRET)
    for use in uses(cache):
        use()
    admin.execute_command("ACL", "SETUSER", "keeper", "-set")
    for use in (cache.ping, lambda: cache.put(Mode.LIVE, [PRICE])):
        assert "no permissions" in refusal(use)
    assert cache.get(Mode.LIVE, "btcusdt").price == PRICE.price


def test_the_database_can_be_chosen(server, open_cache, admin):
    open_cache(server, db=3).put(Mode.LIVE, [PRICE])
    assert admin.keys() == []


def test_a_full_server_is_told_by_writing_and_by_a_ping_and_still_reads(cache, admin):
    cache.put(Mode.LIVE, [PRICE])
    admin.config_set("maxmemory", 1)
    for use in (cache.ping, lambda: cache.put(Mode.LIVE, [PRICE, PRICE])):
        assert "maxmemory" in refusal(use)
    assert cache.get(Mode.LIVE, "btcusdt").price == PRICE.price
    admin.config_set("maxmemory", 0)
    for use in uses(cache):
        use()


def test_a_read_only_server_is_told_by_writing_and_by_a_ping_and_still_reads(cache, admin):
    cache.put(Mode.LIVE, [PRICE])
    admin.replicaof("127.0.0.1", free_port())
    for use in (cache.ping, lambda: cache.put(Mode.LIVE, [PRICE])):
        assert "read only replica" in refusal(use)
    assert cache.get(Mode.LIVE, "btcusdt").price == PRICE.price


def test_a_closed_cache_opens_nothing_again(cache, admin):
    before = number_of_clients(admin)
    cache.ping()
    cache.close()
    for use in uses(cache):
        assert refusal(use).endswith(": it was closed")
    until(lambda: number_of_clients(admin) == before, 5, "end of every connection")
