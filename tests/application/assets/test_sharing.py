"""The shared cache gets every newest price it can take, and nobody is told otherwise."""

import logging
import threading
from collections import Counter
from functools import partial

import pytest

from marketflow.application.asset_ports import CachedPrice
from marketflow.application.assets import sharing as sharing_module
from marketflow.domain.errors import AssetNotFound
from marketflow.domain.mode import Mode
from tests.application.assets.rig import NAMES, Rig, price_of
from tests.fake_assets import MemoryAssetCache
from tests.fakes import ManualClock

TTL = 300_000


class SharedRig(Rig):
    """The same with a shared cache."""

    def __init__(self, clock=None, **rules):
        clock = clock or ManualClock()
        super().__init__(clock=clock, cache=MemoryAssetCache(clock), **rules)
        self.sharing = self.assets.sharing

    def turn(self):
        self.sharing._turn()

    def held(self, asset="btcusdt", mode=Mode.LIVE):
        cached = self.cache.get(mode, asset)
        return None if cached is None else cached.price.price

    def fall(self):
        """Let the cache fall, and be found fallen."""
        self.turn()  # what it had is in memory
        self.cache.down = "redis hangs"
        self.refresh()
        self.turn()
        assert self.sharing.problem == "redis hangs"


@pytest.fixture
def rig():
    return SharedRig()


def test_a_refresh_ends_when_the_cache_took_the_price(rig):
    future = rig.refresh()
    assert not future.done()
    rig.turn()
    assert future.result(timeout=0).shared is True
    assert rig.cache.get(Mode.LIVE, "btcusdt") == CachedPrice(future.result().price, TTL)


def test_a_refresh_tells_that_the_cache_did_not_take_it(rig):
    rig.cache.down = "redis hangs"
    future = rig.refresh()
    rig.turn()
    assert future.result(timeout=0).shared is False
    assert rig.prices.price("btcusdt").price.price == 200.0


def test_while_the_cache_is_known_to_be_away_nobody_waits_for_it(rig):
    rig.fall()
    assert rig.refreshed().shared is False


def test_what_waited_is_sent_on_return_with_the_time_that_is_left(rig, caplog):
    caplog.set_level(logging.INFO)
    rig.fall()
    rig.answer(*(rig.quotes(n, 7.0) for n in (1, 2, 3)))
    rig.refreshed()
    rig.clock.advance(100_000)
    rig.cache.down = None
    rig.turn()
    cached = rig.cache.get(Mode.LIVE, "btcusdt")
    assert (cached.price.price, cached.ttl_ms) == (7.0, 200_000)
    assert (rig.sharing.problem, rig.sharing.waiting()) == (None, 0)
    lines = [record.message for record in caplog.records]
    assert lines[1:] == ["prices are not shared", "prices are shared again"]


def test_what_expired_meanwhile_is_not_sent(rig):
    rig.fall()
    rig.clock.advance(TTL)
    rig.cache.down = None
    rig.turn()
    assert (rig.held(), rig.cache.puts, rig.sharing.waiting()) == (None, 0, 0)


def test_what_waits_is_bounded_by_the_number_of_assets(rig):
    rig.fall()
    for _ in range(100):
        for name in rig.catalog.names:
            rig.refreshed(name)
    assert rig.sharing.waiting() == len(rig.catalog.names)


def test_a_cache_that_is_away_is_tried_every_two_seconds_at_most(rig):
    rig.fall()
    for _ in range(600):
        rig.turn()
        rig.clock.advance(100)
    assert 60 / 2 <= rig.sharing.errors <= 60 / 1.5 + 4


def test_with_nothing_to_send_a_cache_that_was_away_is_asked_whether_it_is_back(rig):
    rig.fall()
    rig.clock.advance(TTL)
    rig.turn()
    rig.cache.down = None
    rig.clock.advance(2_000)
    rig.turn()
    assert (rig.sharing.problem, rig.cache.pings) == (None, 1)
    for _ in range(10):
        rig.clock.advance(2_000)
        rig.turn()
    assert rig.cache.pings == 1


def test_many_prices_go_in_batches_of_one_mode(rig):
    sizes = []
    put = rig.cache.put
    rig.cache.put = lambda mode, prices: (sizes.append((mode, len(prices))), put(mode, prices))
    now = rig.clock
    told = []
    for n in range(1_200):
        rig.sharing.offer(Mode.LIVE, price_of(now, f"asset{n}"), told.append)
    for n in range(3):
        rig.sharing.offer(Mode.TEST, price_of(now, f"asset{n}"), told.append)
    rig.turn()
    live = Mode.LIVE
    assert sizes == [(live, 500), (live, 500), (live, 200), (Mode.TEST, 3)]
    assert told == [True] * 1_203


def test_who_offers_is_told_once_whatever_happens(rig):
    told = {n: [] for n in range(4)}
    rig.sharing.offer(Mode.LIVE, price_of(rig.clock), told[0].append)
    rig.sharing.offer(Mode.LIVE, price_of(rig.clock, price=2.0), told[1].append)
    rig.cache.down = "redis hangs"
    rig.turn()
    rig.sharing.offer(Mode.LIVE, price_of(rig.clock, price=3.0), told[2].append)
    rig.cache.down = None
    rig.clock.advance(2_000)
    rig.turn()
    rig.sharing.offer(Mode.LIVE, price_of(rig.clock, price=4.0), told[3].append)
    rig.turn()
    assert told == {0: [False], 1: [False], 2: [False], 3: [True]}
    assert rig.held() == 4.0


def test_a_price_that_is_replaced_before_it_is_sent_counts_as_taken(rig):
    told = []
    for price in (1.0, 2.0):
        rig.sharing.offer(Mode.LIVE, price_of(rig.clock, price=price), told.append)
    rig.turn()
    assert (told, rig.held()) == ([True, True], 2.0)


def test_a_newer_price_offered_while_a_send_fails_is_what_is_sent_later(rig):
    put = rig.cache.put

    def fails_late(mode, prices):
        rig.cache.put = put
        rig.sharing.offer(mode, price_of(rig.clock, price=2.0), lambda _: None)
        rig.cache.down = "redis hangs"
        put(mode, prices)

    rig.turn()
    rig.cache.put = fails_late
    rig.sharing.offer(Mode.LIVE, price_of(rig.clock, price=1.0), lambda _: None)
    rig.turn()
    rig.cache.down = None
    rig.clock.advance(2_000)
    rig.turn()
    assert (rig.held(), rig.sharing.waiting()) == (2.0, 0)


def test_an_error_nobody_expects_is_told_like_an_outage(rig, caplog):
    rig.cache.put = lambda mode, prices: 1 / 0
    future = rig.refresh()
    rig.turn()
    assert future.result(timeout=0).shared is False
    assert "division by zero" in rig.sharing.problem
    assert [r.message for r in caplog.records if r.exc_info] == ["prices could not be shared"]


def test_what_the_cache_holds_is_in_memory_before_the_first_write(rig):
    rig.cache.put(Mode.LIVE, [CachedPrice(price_of(rig.clock, price=5.0), 60_000)])
    rig.cache.put(Mode.LIVE, [CachedPrice(price_of(rig.clock, "ethusdt", 6.0, at_ms=-9), 60_000)])
    rig.refresh("ethusdt")
    rig.turn()
    assert rig.prices.price("btcusdt").price.price == 5.0
    assert rig.prices.price("ethusdt").price.price == rig.held("ethusdt") == 200.0
    rig.clock.advance(60_000)
    with pytest.raises(AssetNotFound):
        rig.prices.price("btcusdt")


def test_each_mode_is_warmed_once_and_apart(rig):
    rig.cache.put(Mode.TEST, [CachedPrice(price_of(rig.clock, price=5.0), 60_000)])
    rig.turn()
    with pytest.raises(AssetNotFound):
        rig.prices.price("btcusdt")
    rig.mode = Mode.TEST
    rig.turn()
    assert rig.prices.price("btcusdt").price.price == 5.0
    gets = rig.cache.gets
    rig.turn()
    assert rig.cache.gets == gets


def test_down_at_the_start_the_cache_warms_the_memory_when_it_comes(rig):
    rig.cache.put(Mode.LIVE, [CachedPrice(price_of(rig.clock, "ethusdt", 6.0), TTL)])
    rig.cache.down = "connection refused"
    rig.refresh("btcusdt")
    rig.turn()
    assert rig.prices.price("btcusdt").price.price == 200.0
    rig.cache.down = None
    rig.clock.advance(2_000)
    rig.turn()
    assert rig.prices.price("ethusdt").price.price == 6.0
    assert rig.held("btcusdt") == 200.0


def test_a_hung_cache_delays_neither_answers_nor_those_who_only_look_at_memory():
    rig = SharedRig()
    rig.cache.free.clear()
    thread = threading.Thread(target=rig.sharing.run)
    thread.start()
    future = rig.refresh()
    assert rig.prices.price("btcusdt").price.price == 200.0
    assert not future.done()
    rig.cache.down = "redis hangs"
    rig.cache.free.set()
    assert future.result(timeout=5).shared is False
    rig.sharing.close()
    thread.join(5)
    assert not thread.is_alive()


def test_closed_it_sends_what_is_left_and_tells_everybody():
    rig = SharedRig()
    rig.turn()
    future = rig.refresh()
    rig.sharing.close()
    rig.sharing.run()
    assert future.result(timeout=0).shared is True
    assert rig.cache.closed
    assert rig.refreshed("ethusdt").shared is False


def test_closed_while_the_cache_is_away_everybody_is_told(rig):
    rig.cache.down = "redis hangs"
    future = rig.refresh()
    rig.sharing.close()
    rig.sharing.run()
    assert future.result(timeout=0).shared is False


def test_closed_in_the_middle_of_a_long_send_it_ends_in_time(rig, monkeypatch):
    monkeypatch.setattr(sharing_module, "_BATCH", 1)
    monkeypatch.setattr(sharing_module, "_LAST_S", 0.0)
    put = rig.cache.put

    def close_and_put(mode, prices):
        rig.sharing.close()
        put(mode, prices)

    monkeypatch.setattr(rig.cache, "put", close_and_put)
    futures = [rig.refresh(name) for name in NAMES]
    rig.sharing.run()
    assert rig.cache.puts == 2, "one, and one for what is left"
    assert [future.result(timeout=0).shared for future in futures].count(True) == 2


def test_who_comes_too_late_for_the_last_send_is_told_too(rig):
    turn, late = rig.sharing._turn, []

    def turn_and_come(*, last):
        turn(last=last)
        late.append(rig.refresh())

    rig.sharing._turn = turn_and_come
    rig.sharing.close()
    rig.sharing.run()
    assert late[0].result(timeout=0).shared is False


def test_a_hundred_threads_offering_are_each_told_once():
    rig = SharedRig()
    told = []

    def note(who, took):
        told.append(who)

    sender = threading.Thread(target=rig.sharing.run)
    sender.start()

    def offer(number):
        for n in range(20):
            rig.cache.down = "redis hangs" if (n + number) % 7 == 0 else None
            asset = f"asset{n % 3}"
            rig.sharing.offer(Mode.LIVE, price_of(rig.clock, asset), partial(note, (number, n)))
            rig.clock.advance(50)

    threads = [threading.Thread(target=offer, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    rig.sharing.close()
    sender.join(10)
    assert Counter(told) == dict.fromkeys(
        ((number, n) for number in range(30) for n in range(20)), 1
    )
