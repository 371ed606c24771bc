"""Questions about asset prices."""

import contextlib

import pytest

from marketflow.application.asset_ports import CachedPrice
from marketflow.application.assets.prices import ListedAsset
from marketflow.domain.asset import HistoryItem
from marketflow.domain.errors import (
    AssetNotFound,
    BadParameter,
    NotListed,
    StorageUnavailable,
    UnknownAsset,
)
from marketflow.domain.mode import Mode
from tests.application.assets.rig import NAMES, Rig, catalog_of, price_of, says
from tests.application.assets.test_sharing import SharedRig

FOR_EVER = 1 << 40


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture
def shared():
    rig = SharedRig()
    rig.turn()
    return rig


def test_a_price_is_told_with_its_tier_and_age(rig):
    price = rig.refreshed("solusdt").price
    rig.clock.advance(1_500)
    assert rig.prices.price("SOLUSDT") == (price, "medium", 1_500, False)


def test_a_price_whose_exchange_is_ahead_of_us_is_not_younger_than_nothing(rig):
    rig.answer(*(rig.quotes(n, age_ms=-5_000) for n in (1, 2, 3)))
    rig.refreshed()
    assert rig.prices.price("btcusdt").age_ms == 0


@pytest.mark.parametrize(("name", "every_ms"), [("btcusdt", 5_000), ("tonusdt", 180_000)])
def test_a_price_is_stale_after_one_and_a_half_intervals(rig, name, every_ms):
    rig.refreshed(name)
    rig.clock.advance(every_ms * 3 // 2)
    assert not rig.prices.price(name).stale
    rig.clock.advance(1)
    assert rig.prices.price(name).stale


def test_a_price_is_told_until_its_time_to_live_is_over():
    rig = Rig(ttl_ms=60_000)
    rig.refreshed()
    rig.clock.advance(59_999)
    rig.prices.price("btcusdt")
    rig.clock.advance(1)
    with pytest.raises(AssetNotFound):
        rig.prices.price("btcusdt")


def test_unknown_and_missing_are_different_answers(rig):
    with pytest.raises(UnknownAsset, match=r"^Invalid asset symbol$"):
        rig.prices.price("nonsense")
    with pytest.raises(AssetNotFound, match=r"^Asset not found$"):
        rig.prices.price("btcusdt")


def test_hits_and_misses_are_counted(rig):
    rig.refreshed()
    for name in ("btcusdt", "ethusdt", "BTCUSDT", "nonsense"):
        with contextlib.suppress(AssetNotFound, UnknownAsset):
            rig.prices.price(name)
    assert (rig.prices.hits, rig.prices.misses) == (2, 1)


def test_a_miss_is_never_cached_as_a_price(rig):
    rig.answer(*(says(NotListed()) for _ in range(3)))
    rig.refresh()
    with pytest.raises(AssetNotFound):
        rig.prices.price("btcusdt")
    assert len(rig.assets.books[Mode.LIVE]) == 0
    rig.answer(*(rig.quotes(n) for n in (1, 2, 3)))
    rig.refreshed()
    assert rig.prices.price("btcusdt").price.price == 200.0


def test_some_prices_are_told_in_order_once_each_and_the_rest_is_missing(rig):
    rig.refreshed("btcusdt")
    rig.refreshed("adausdt")
    views, missing = rig.prices.some(["ADAUSDT", "ethusdt", "Nonsense", "btcusdt", "adausdt"])
    assert [view.price.asset for view in views] == ["adausdt", "btcusdt"]
    assert missing == ["ethusdt", "Nonsense"]


def test_modes_never_mix(rig):
    rig.refreshed()
    rig.mode = Mode.TEST
    with pytest.raises(AssetNotFound):
        rig.prices.price("btcusdt")
    assert rig.prices.history("btcusdt", 0, FOR_EVER, 10) == []


def test_without_a_shared_cache_there_is_nowhere_to_look(rig):
    assert not rig.prices.must_look("btcusdt")
    with pytest.raises(AssetNotFound):
        rig.prices.look("btcusdt")


def test_a_miss_is_looked_up_in_the_shared_cache_and_kept_for_the_time_that_is_left(shared):
    shared.cache.put(Mode.LIVE, [CachedPrice(price_of(shared.clock, price=5.0), 10_000)])
    assert shared.prices.must_look("btcusdt")
    assert shared.prices.look("BTCUSDT").price.price == 5.0
    assert shared.prices.price("btcusdt").price.price == 5.0
    assert (shared.prices.hits, shared.prices.misses) == (2, 0)
    assert not shared.prices.must_look("btcusdt")
    shared.clock.advance(10_000)
    assert shared.prices.must_look("btcusdt")


def test_what_the_shared_cache_has_not_is_a_miss_and_stays_one(shared):
    for _ in range(2):
        with pytest.raises(AssetNotFound):
            shared.prices.look("btcusdt")
    assert len(shared.assets.books[Mode.LIVE]) == 0
    assert (shared.prices.hits, shared.prices.misses) == (0, 2)


def test_a_newer_price_in_memory_wins_over_the_shared_one(shared):
    shared.cache.put(Mode.LIVE, [CachedPrice(price_of(shared.clock, price=5.0), 10_000)])
    shared.clock.advance(1)
    shared.refresh()
    assert shared.prices.look("btcusdt").price.price == 200.0


def test_a_newer_shared_price_is_not_kept_for_longer_than_ours(shared):
    shared.refresh()
    shared.clock.advance(1)
    shared.cache.put(Mode.LIVE, [CachedPrice(price_of(shared.clock, price=5.0), 3_600_000)])
    assert shared.prices.look("btcusdt").price.price == 5.0
    shared.clock.advance(300_000)
    with pytest.raises(AssetNotFound):
        shared.prices.price("btcusdt")


def test_a_hung_cache_costs_one_look_until_it_is_tried_again(shared):
    shared.cache.down = "redis hangs"
    gets = shared.cache.gets
    for _ in range(20):
        with pytest.raises(AssetNotFound):
            shared.prices.look("btcusdt")
    assert shared.cache.gets == gets + 1
    assert not shared.prices.must_look("btcusdt")
    assert shared.sharing.problem == "redis hangs"
    shared.cache.down = None
    shared.clock.advance(2_000)
    shared.turn()
    assert shared.prices.must_look("btcusdt")


def test_the_known_assets_are_listed_in_order_page_by_page(rig):
    timestamp_ms = rig.refreshed("ethusdt").price.timestamp_ms
    page = rig.prices.listing(None, None, 3)
    assert page.assets == [
        ListedAsset("btcusdt", "hot", None),
        ListedAsset("ethusdt", "hot", timestamp_ms),
        ListedAsset("adausdt", "medium", None),
    ]
    assert page.after == "adausdt"
    page = rig.prices.listing(None, "ADAUSDT", 4)
    assert ([one.asset for one in page.assets], page.after) == (list(NAMES[3:]), None)


def test_one_tier_can_be_listed(rig):
    page = rig.prices.listing("medium", None, 2)
    assert ([one.asset for one in page.assets], page.after) == (["adausdt", "solusdt"], "solusdt")
    page = rig.prices.listing("medium", "solusdt", 2)
    assert ([one.asset for one in page.assets], page.after) == (["xrpusdt"], None)


def test_every_page_together_is_everything():
    rig = Rig(catalog=catalog_of(1_000))
    names, after = [], None
    while True:
        page = rig.prices.listing(None, after, 7)
        names += [one.asset for one in page.assets]
        after = page.after
        if after is None:
            break
    assert tuple(names) == rig.catalog.names


@pytest.mark.parametrize(
    ("tier", "after", "message"),
    [
        ("warm", None, "tier must be hot, medium, cold, was 'warm'"),
        (None, "nonsense", "cursor must be a known asset, was 'nonsense'"),
    ],
)
def test_a_listing_of_what_does_not_exist_says_so(rig, tier, after, message):
    with pytest.raises(BadParameter, match=f"^{message}$"):
        rig.prices.listing(tier, after, 3)


def test_the_history_is_what_is_stored_and_what_waits_newest_first(rig):
    for n in range(4):
        rig.answer(*(rig.quotes(i, 10.0 + n) for i in (1, 2, 3)))
        rig.refreshed()
        if n == 1:
            rig.assets.historian.write(rig.clock.now())
        rig.clock.advance(1_000)
    items = rig.prices.history("BTCUSDT", 0, FOR_EVER, 10)
    assert [item.price for item in items] == [13.0, 12.0, 11.0, 10.0]
    assert rig.prices.history("btcusdt", 0, FOR_EVER, 3) == items[:3]
    assert (
        rig.prices.history("btcusdt", items[2].timestamp_s, items[0].timestamp_s, 9) == items[1:3]
    )


def test_a_second_that_is_stored_and_waits_is_told_once_as_it_is_newest(rig):
    price = rig.refreshed().price
    second = price.timestamp_ms // 1000
    stored = HistoryItem("btcusdt", second, 1.0, second - 1)
    rig.history.append(Mode.LIVE, [stored])
    assert [item.price for item in rig.prices.history("btcusdt", 0, FOR_EVER, 10)] == [200.0]
    newer = HistoryItem("btcusdt", second, 2.0, second + 1)
    rig.history.append(Mode.LIVE, [newer])
    assert rig.prices.history("btcusdt", 0, FOR_EVER, 10) == [newer]


def test_an_item_on_its_way_to_the_store_is_never_missing(rig):
    rig.refreshed()
    newest = rig.history.newest

    def written_a_moment_later(*question):
        found = newest(*question)
        rig.assets.historian.write(rig.clock.now())
        return found

    rig.history.newest = written_a_moment_later
    assert len(rig.prices.history("btcusdt", 0, FOR_EVER, 10)) == 1


def test_a_history_that_cannot_be_read_says_so(rig):
    rig.history.down = "connection refused"
    with pytest.raises(StorageUnavailable):
        rig.prices.history("btcusdt", 0, FOR_EVER, 10)
    with pytest.raises(UnknownAsset):
        rig.prices.history("nonsense", 0, FOR_EVER, 10)
