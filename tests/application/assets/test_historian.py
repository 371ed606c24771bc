"""Every price reaches the history, whatever happens to it in between."""

import logging
import threading

import pytest

from marketflow.application.assets import historian as historian_module
from marketflow.application.assets.historian import Historian
from marketflow.domain.asset import HistoryItem
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.application.assets.rig import price_of
from tests.fake_assets import MemoryAssetHistory
from tests.fakes import ManualClock

FOR_EVER = 1 << 40


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def history():
    return MemoryAssetHistory()


class SlowHistory(MemoryAssetHistory):
    """A history that takes *item_s* for each item, and gives up a write after 6 s."""

    def __init__(self):
        super().__init__()
        self.time_s = 0.0
        self.item_s = 0.02

    def append(self, mode, items):
        took_s = len(items) * self.item_s
        self.time_s += min(took_s, 6.0)
        if took_s > 6.0:
            raise StorageUnavailable("out of time")
        super().append(mode, items)


def historian_of(history, clock, **changes):
    return Historian(history, clock=clock, **({"retention_ms": None} | changes))


@pytest.fixture
def historian(history, clock):
    return historian_of(history, clock)


def item_of(price):
    return HistoryItem(
        price.asset, price.timestamp_ms // 1000, price.price, price.updated_ms // 1000
    )


def offer(historian, clock, count, *, mode=Mode.LIVE, every_ms=1_000):
    """Offer *count* prices, one every *every_ms*; return the items they are to become."""
    prices = []
    for n in range(count):
        clock.advance(every_ms)
        prices.append(price_of(clock, price=100.0 + n))
        historian.offer(mode, prices[-1])
    return {item_of(price) for price in prices}


def turn(historian):
    historian._turn()


def test_prices_are_written_in_batches(historian, history, clock):
    items = offer(historian, clock, 1_234)
    assert historian.waiting() == 1_234
    turn(historian)
    assert history.all(Mode.LIVE) == items
    assert history.appends == [500, 500, 234]
    assert (historian.waiting(), historian.problem) == (0, None)


def test_modes_are_written_apart(historian, history, clock):
    live = offer(historian, clock, 3)
    test = offer(historian, clock, 2, mode=Mode.TEST)
    turn(historian)
    assert (history.all(Mode.LIVE), history.all(Mode.TEST)) == (live, test)


def test_of_one_second_the_price_made_last_is_kept(historian, history, clock):
    for at_ms, price in ((0, 1.0), (200, 2.0), (900, 3.0)):
        historian.offer(Mode.LIVE, price_of(clock, price=price, at_ms=at_ms))
    earlier = price_of(clock, price=9.0)._replace(updated_ms=clock.now().wall_ms - 5_000)
    historian.offer(Mode.LIVE, earlier)
    turn(historian)
    assert [item.price for item in history.all(Mode.LIVE)] == [3.0]


def test_the_tables_are_created_before_anything_is_written(historian, history, clock):
    calls = []
    ping, append = history.ping, history.append
    history.ping = lambda: (calls.append("ping"), ping())
    history.append = lambda mode, items: (calls.append("append"), append(mode, items))
    offer(historian, clock, 1)
    turn(historian)
    turn(historian)
    assert calls == ["ping", "append"]


def test_an_outage_loses_nothing(historian, history, clock, caplog):
    caplog.set_level(logging.INFO)
    items = offer(historian, clock, 10)
    turn(historian)
    history.down = "connection refused"
    for _ in range(100):
        items |= offer(historian, clock, 10)
        turn(historian)
    assert historian.problem == "connection refused"
    assert (historian.waiting(), len(history._items)) == (1_000, 10)
    history.down = None
    clock.advance(2_000)
    turn(historian)
    assert history.all(Mode.LIVE) == items
    assert (historian.waiting(), historian.dropped, historian.problem) == (0, 0, None)
    assert [record.message for record in caplog.records] == [
        "prices wait for the history",
        "prices reach the history again",
    ]
    assert caplog.records[0].reason == "connection refused"
    assert caplog.records[1].for_s == pytest.approx(1_002, abs=15)


def test_a_store_that_is_down_is_tried_every_two_seconds_at_most(historian, history, clock):
    history.down = "connection refused"
    offer(historian, clock, 1)
    for _ in range(600):
        turn(historian)
        clock.advance(100)
    assert 60 / 2 <= historian.errors <= 60 / 1.5 + 4


def test_down_at_the_start_it_is_found_when_it_comes(historian, history, clock):
    history.down = "connection refused"
    turn(historian)
    assert historian.problem == "connection refused"
    history.down = None
    clock.advance(2_000)
    turn(historian)
    assert (historian.problem, history.pings) == (None, 1)


def test_what_was_written_without_our_knowing_is_written_again(historian, history, clock):
    items = offer(historian, clock, 5)
    history.answer_lost = True
    turn(historian)
    assert historian.waiting() == 5
    clock.advance(2_000)
    turn(historian)
    assert (history.all(Mode.LIVE), historian.waiting()) == (items, 0)


def test_a_newer_price_that_comes_while_the_older_one_is_written_is_not_lost(
    historian, history, clock
):
    historian.offer(Mode.LIVE, price_of(clock, price=1.0))
    append = history.append

    def slowly(mode, items):
        append(mode, items)
        history.append = append
        historian.offer(Mode.LIVE, price_of(clock, price=2.0, at_ms=100))

    history.append = slowly
    turn(historian)
    assert [item.price for item in history.all(Mode.LIVE)] == [2.0]


def test_a_slow_history_gets_all_there_is_and_less_at_once(clock, monkeypatch):
    history = SlowHistory()
    historian = historian_of(history, clock)
    monkeypatch.setattr(historian_module, "monotonic", lambda: history.time_s)
    items = offer(historian, clock, 1_234)
    for _ in range(50):
        turn(historian)
        clock.advance(2_000)
    assert history.all(Mode.LIVE) == items
    assert (historian.waiting(), historian.problem) == (0, None)
    assert max(history.appends[5:]) * 0.02 <= 1.5

    history.item_s = 0.0
    offer(historian, clock, 20_000)
    turn(historian)
    assert max(history.appends) == 500


def test_over_its_bound_the_oldest_are_dropped_and_counted(history, clock, caplog):
    historian = historian_of(history, clock, capacity=100)
    history.down = "connection refused"
    turn(historian)
    items = offer(historian, clock, 130)
    assert (historian.waiting(), historian.dropped) == (100, 30)
    assert historian.dropped_mono == clock.now().mono_ms
    history.down = None
    clock.advance(2_000)
    turn(historian)
    assert history.all(Mode.LIVE) == set(sorted(items, key=lambda item: item.timestamp_s)[30:])
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.message for record in errors] == ["prices dropped that the history never had"]


def test_whether_a_price_is_as_good_as_kept_is_told_truly(historian, history, clock):
    assert historian.offer(Mode.LIVE, price_of(clock))
    history.down = "connection refused"
    turn(historian)
    assert not historian.offer(Mode.LIVE, price_of(clock))


def test_what_is_not_written_yet_can_be_read(historian, clock):
    items = offer(historian, clock, 10)
    offer(historian, clock, 3, mode=Mode.TEST)
    historian.offer(Mode.LIVE, price_of(clock, "ethusdt"))
    assert set(historian.unwritten(Mode.LIVE, "btcusdt", 0, FOR_EVER)) == items
    times = sorted(item.timestamp_s for item in items)
    some = historian.unwritten(Mode.LIVE, "btcusdt", times[2], times[5])
    assert [item.timestamp_s for item in some] == times[2:5]


def test_old_items_are_forgotten_once_a_minute(history, clock):
    historian = historian_of(history, clock, retention_ms=86_400_000)
    for _ in range(180):
        turn(historian)
        clock.advance(1_000)
    assert len(history.trims) == 3
    assert history.trims[-1] == (clock.now().wall_ms - 60_000 - 86_400_000) // 1000


def test_without_retention_nothing_is_forgotten(historian, history, clock):
    for _ in range(180):
        turn(historian)
        clock.advance(1_000)
    assert history.trims == []


def test_a_failure_to_forget_is_a_problem_that_passes(history, clock):
    def fails(before_s):
        raise StorageUnavailable("database is locked")

    historian = historian_of(history, clock, retention_ms=86_400_000)
    history.trim = fails
    turn(historian)
    assert historian.problem == "database is locked"
    clock.advance(2_000)
    turn(historian)
    assert historian.problem is None


def test_an_error_nobody_expects_is_a_problem_that_passes(historian, history, clock, caplog):
    append = history.append
    history.append = lambda mode, items: 1 / 0
    items = offer(historian, clock, 3)
    turn(historian)
    clock.advance(2_000)
    turn(historian)
    assert "division by zero" in historian.problem
    assert [r.message for r in caplog.records if r.exc_info] == ["history could not be written"]
    history.append = append
    clock.advance(2_000)
    turn(historian)
    assert history.all(Mode.LIVE) == items


def run(historian):
    thread = threading.Thread(target=historian.run)
    thread.start()
    return thread


def test_closed_it_writes_what_is_left_and_closes_the_history(historian, history, clock):
    thread = run(historian)
    items = offer(historian, clock, 3)
    historian.close()
    thread.join(5)
    assert not thread.is_alive()
    assert (history.all(Mode.LIVE), history.closed) == (items, True)
    assert not historian.offer(Mode.LIVE, price_of(clock))


def test_what_a_dead_history_did_not_take_at_the_end_is_an_error(historian, history, clock, caplog):
    history.down = "connection refused"
    offer(historian, clock, 3)
    historian.close()
    historian.run()
    assert caplog.records[-1].levelname == "ERROR"
    assert (caplog.records[-1].items, caplog.records[-1].reason) == (3, "connection refused")


def test_a_full_batch_does_not_wait_for_the_second_to_pass(historian, clock):
    offer(historian, clock, 499)
    assert not historian._wake.is_set()
    offer(historian, clock, 1)
    assert historian._wake.is_set()


def test_a_full_batch_does_not_hurry_a_history_that_is_away(historian, history, clock):
    history.down = "connection refused"
    turn(historian)
    offer(historian, clock, 600)
    assert not historian._wake.is_set()
