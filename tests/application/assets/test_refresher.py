"""What is due is refreshed, as far as exchanges can be asked."""

import threading
from concurrent.futures import Future

import pytest

from marketflow.adapters.clock import SystemClock
from marketflow.application.assets.refresher import Refresher
from marketflow.domain.asset import AssetCatalog, Tier
from marketflow.domain.errors import AssetNotFound, NotListed, QuoteFailed
from marketflow.domain.mode import Mode
from tests.application.assets.rig import NAMES, TIERS, Rig, catalog_of, says

FAILS = says(QuoteFailed("refused"))
MINUTE = 60_000


@pytest.fixture
def rig():
    return Rig()


def pass_by(rig, ms, *, step_ms=250):
    for _ in range(ms // step_ms):
        rig.assets.refresher.step(rig.clock.now().mono_ms)
        rig.clock.advance(step_ms)


def asked(rig, mode=Mode.LIVE):
    return [len(exchange.asked) for exchange in rig.exchanges[mode]]


def test_every_asset_is_cached_soon_after_the_start_and_stays_fresh(rig):
    pass_by(rig, 2_000)
    for _ in range(20):
        pass_by(rig, 10_000)
        assert [rig.prices.price(name).stale for name in NAMES] == [False] * len(NAMES)
    assert rig.assets.refresher.in_flight == 0


def test_switched_off_it_refreshes_nothing():
    rig = Rig(refresh=False)
    pass_by(rig, MINUTE)
    assert asked(rig) == [0, 0, 0]


def test_switched_off_it_looks_after_what_was_asked_for():
    rig = Rig(refresh=False)
    rig.silence()
    future = rig.refresh()
    pass_by(rig, 4_000)
    assert future.done()


def test_at_most_so_many_are_on_their_way():
    rig = Rig(catalog=catalog_of(1_000, (Tier("all", None, 5_000),)))
    rig.silence()
    pass_by(rig, 1_750)
    assert (rig.assets.refresher.in_flight, *asked(rig)) == (256, 256, 256, 256)
    for n, exchange in enumerate(rig.live, start=1):
        exchange.tell_all(rig.quotes(n))
    pass_by(rig, 250)
    assert (rig.assets.refresher.in_flight, *asked(rig)) == (256, 512, 512, 512)


def test_while_no_exchange_may_be_asked_nothing_is_started(rig):
    rig.answer(FAILS, FAILS, FAILS)
    pass_by(rig, 10_000)
    assert asked(rig) == [5, 5, 5]
    counts = dict(rig.refreshes.counts)
    pass_by(rig, 10_000)
    assert rig.refreshes.counts == counts


def test_when_a_breaker_half_opens_its_probes_go_through_and_no_more(rig):
    rig.answer(FAILS, FAILS, FAILS)
    pass_by(rig, 20_000)
    rig.silence()
    pass_by(rig, 12_000)
    assert asked(rig) == [7, 7, 7]
    assert rig.assets.refresher.in_flight == 2


def test_exchanges_that_return_are_found_and_everything_is_fresh_again(rig):
    pass_by(rig, 10_000)
    rig.answer(FAILS, FAILS, FAILS)
    pass_by(rig, 2 * MINUTE)
    rig.answer(rig.quotes(1), rig.quotes(2), rig.quotes(3))
    pass_by(rig, 31_000)
    pass_by(rig, 2_000)
    assert [rig.prices.price(name).stale for name in NAMES] == [False] * len(NAMES)


def test_what_failed_is_tried_again_within_seconds(rig):
    rig.answer(FAILS, FAILS, FAILS)
    pass_by(rig, 250)  # one, so the breakers stay closed
    rig.answer(rig.quotes(1), rig.quotes(2), rig.quotes(3))
    pass_by(rig, 3_500)
    assert rig.prices.price("btcusdt").price.price == 200.0


def test_what_nobody_lists_waits_for_its_next_turn(rig):
    rig.answer(*(says(NotListed()) for _ in range(3)))
    pass_by(rig, 62_000)
    turns = rig.live[0].asked.count("tonusdt")
    assert turns == 1
    assert rig.refreshes.counts["cold", "not_listed"] == 2


def test_after_a_switch_every_asset_of_the_other_mode_is_refreshed_soon(rig):
    pass_by(rig, 2_000)
    rig.mode = Mode.TEST
    pass_by(rig, 2_000)
    assert {rig.prices.price(name).price.price for name in NAMES} == {200.0}
    live = asked(rig)
    pass_by(rig, MINUTE)
    assert asked(rig) == live


def test_a_switch_does_not_lose_count_of_what_is_on_its_way(rig):
    rig.silence()
    pass_by(rig, 2_000)
    assert rig.assets.refresher.in_flight == len(NAMES)
    rig.mode = Mode.TEST
    pass_by(rig, 500)
    for n, exchange in enumerate(rig.live, start=1):
        exchange.tell_all(rig.quotes(n))
    pass_by(rig, 2_000)
    assert rig.assets.refresher.in_flight == 0


def test_prices_that_may_not_be_told_any_more_leave_the_memory(rig):
    pass_by(rig, 2_000)
    book = rig.assets.books[Mode.LIVE]
    assert len(book) == len(NAMES)
    rig.mode = Mode.TEST
    pass_by(rig, 6 * MINUTE)
    assert len(book) == 0


class OnceBroken:
    """Refreshes that fail the first time, then find nothing."""

    def __init__(self):
        self.calls = 0
        self.worked = threading.Event()

    def give_up(self):
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError

    def room(self):
        return 10

    def refresh(self, name):
        self.worked.set()
        future = Future()
        future.set_exception(AssetNotFound())
        return future


def test_the_loop_survives_what_it_does_not_know_and_ends_when_closed(caplog):
    refreshes = OnceBroken()
    refresher = Refresher(
        AssetCatalog(NAMES, TIERS),
        refreshes=refreshes,
        books={},
        enabled=True,
        clock=SystemClock(max_step_ms=1_000),
        mode=lambda: Mode.LIVE,
    )
    thread = threading.Thread(target=refresher.run)
    thread.start()
    assert refreshes.worked.wait(5)
    refresher.close()
    thread.join(5)
    assert not thread.is_alive()
    assert [record.message for record in caplog.records] == ["assets could not be refreshed"]
