"""A refresh asks every exchange once and makes a price of what they answer."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from marketflow.domain.asset import HistoryItem, Quote
from marketflow.domain.errors import (
    AssetNotFound,
    NoQuotes,
    NotAsked,
    NotListed,
    QuoteFailed,
    UnknownAsset,
)
from marketflow.domain.mode import Mode
from marketflow.domain.vwap import VwapPolicy
from tests.application.assets.rig import Rig, says

LISTED_NOT = says(NotListed())
FAILS = says(QuoteFailed("it answers garbage"))
NOT_ASKED = says(NotAsked("too many questions"))


@pytest.fixture
def rig():
    return Rig()


def raised_by(rig, name="btcusdt"):
    return type(rig.refresh(name).exception(timeout=0))


def cached(rig, name="btcusdt"):
    return rig.prices.price(name).price.price


def test_the_price_is_made_of_every_exchange(rig):
    rig.answer(rig.quotes(1, volume=2.0), rig.quotes(2, volume=0.0), rig.quotes(3, volume=6.0))
    done = rig.refreshed("BTCUSDT")
    assert done.price.price == 250.0
    assert [(source.quote.exchange, source.used) for source in done.price.sources] == [
        ("exchange1", True),
        ("exchange2", True),
        ("exchange3", True),
    ]
    assert (done.shared, done.history) == (None, True)
    assert cached(rig) == 250.0


def test_it_waits_for_the_history_to_be_written(rig):
    price = rig.refreshed().price
    rig.assets.historian.write(rig.clock.now())
    second = price.timestamp_ms // 1000
    assert rig.history.all(Mode.LIVE) == {HistoryItem("btcusdt", second, 200.0, second)}


def test_every_exchange_is_asked_with_one_deadline(rig):
    rig.silence()
    rig.refresh()
    deadlines = {question.deadline for exchange in rig.live for question in exchange.waiting}
    assert deadlines == {rig.clock.now().mono_ms / 1000 + 2.0}


def test_an_unknown_asset_is_refused_and_nobody_asked(rig):
    with pytest.raises(UnknownAsset):
        rig.refresh("nonsense")
    assert rig.live[0].asked == []


def test_the_answer_waits_for_the_slowest_exchange_and_no_thread_does(rig):
    rig.answer(rig.quotes(1), None, rig.quotes(3))
    future = rig.refresh()
    assert not future.done()
    rig.live[1].tell_all(rig.quotes(2))
    assert future.result(timeout=0).price.price == 200.0


@pytest.mark.parametrize("other", [FAILS, LISTED_NOT, NOT_ASKED])
def test_one_exchange_without_a_quote_leaves_the_price_to_the_others(rig, other):
    rig.answer(other, rig.quotes(2), rig.quotes(3))
    assert rig.refreshed().price.price == 250.0


def test_an_exchange_that_is_told_late_is_left_out(rig):
    rig.answer(None, rig.quotes(2), rig.quotes(3))
    future = rig.refresh()
    rig.clock.advance(2_000)
    rig.live[0].tell_all(says(QuoteFailed("no answer in 2 s")))
    assert future.result(timeout=0).price.price == 250.0


def test_a_stale_quote_is_left_out(rig):
    rig.answer(rig.quotes(1, age_ms=60_001), rig.quotes(2), rig.quotes(3))
    assert rig.refreshed().price.price == 250.0


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((LISTED_NOT, LISTED_NOT, LISTED_NOT), AssetNotFound),
        ((LISTED_NOT, LISTED_NOT, FAILS), NoQuotes),
        ((LISTED_NOT, LISTED_NOT, NOT_ASKED), NoQuotes),
        ((FAILS, FAILS, FAILS), NoQuotes),
        ((NOT_ASKED, NOT_ASKED, NOT_ASKED), NoQuotes),
    ],
)
def test_without_a_quote_the_error_says_whether_anybody_may_list_it(rig, answers, error):
    rig.answer(*answers)
    assert raised_by(rig) is error


def test_a_stale_quote_alone_is_no_price_but_the_asset_is_listed(rig):
    rig.answer(rig.quotes(1, age_ms=60_001), LISTED_NOT, LISTED_NOT)
    assert raised_by(rig) is NoQuotes


def test_an_exchange_that_is_left_alone_may_list_it(rig):
    rig.answer(FAILS, LISTED_NOT, LISTED_NOT)
    for _ in range(6):
        assert raised_by(rig) is NoQuotes
    assert len(rig.live[0].asked) == 5


def test_the_quorum_is_the_policys():
    rig = Rig(policy=VwapPolicy(min_sources=3))
    assert rig.refreshed().price.price == 200.0
    rig.answer(FAILS, rig.quotes(2), rig.quotes(3))
    assert raised_by(rig) is NoQuotes


def test_without_any_exchange_there_is_no_price():
    rig = Rig()
    book = rig.assets.books[Mode.LIVE]
    book.exchanges = ()
    assert raised_by(rig) is NoQuotes


def test_when_all_fail_the_cached_price_stays_and_its_time_to_live_too(rig):
    rig.refreshed()
    rig.clock.advance(299_999)
    rig.answer(FAILS, FAILS, FAILS)
    assert raised_by(rig) is NoQuotes
    assert cached(rig) == 200.0
    rig.clock.advance(1)
    with pytest.raises(AssetNotFound):
        cached(rig)


def test_when_no_exchange_may_be_asked_it_fails_at_once(rig):
    rig.answer(FAILS, FAILS, FAILS)
    for _ in range(5):
        raised_by(rig)
    rig.silence()
    assert raised_by(rig) is NoQuotes
    assert [len(exchange.asked) for exchange in rig.live] == [5, 5, 5]


def test_a_hundred_refreshes_at_once_ask_each_exchange_once(rig):
    rig.silence()
    ready = threading.Barrier(100)

    def refresh(_):
        ready.wait()
        return rig.refresh()

    with ThreadPoolExecutor(100) as pool:
        futures = list(pool.map(refresh, range(100)))
    for exchange, n in zip(rig.live, (1, 2, 3), strict=True):
        exchange.tell_all(rig.quotes(n))
    assert {id(future.result(timeout=0)) for future in futures} == {id(futures[0].result())}
    assert [exchange.asked for exchange in rig.live] == [["btcusdt"]] * 3


def test_the_next_refresh_after_that_asks_again(rig):
    rig.refreshed()
    rig.refreshed()
    assert rig.live[0].asked == ["btcusdt"] * 2


def test_nobody_can_cancel_what_others_wait_for(rig):
    rig.silence()
    assert not rig.refresh().cancel()


def test_second_and_late_answers_are_ignored(rig):
    rig.silence()
    future = rig.refresh()
    questions = [exchange.waiting[0] for exchange in rig.live]
    for n, question in enumerate(questions, start=1):
        question.tell(rig.quotes(n)("btcusdt"))
        question.tell(rig.quotes(n, 9_999.0)("btcusdt"))
        question.tell(QuoteFailed("and fails"))
    assert future.result(timeout=0).price.price == cached(rig) == 200.0
    for _ in range(10):
        questions[0].tell(QuoteFailed("and fails"))
    assert rig.breakers()[0].reason is None


def test_an_exchange_that_cannot_be_asked_has_failed(rig, caplog):
    def breaks(asset, deadline, tell):
        raise ZeroDivisionError("a bug")

    rig.live[0].ask = breaks
    assert rig.refreshed().price.price == 250.0
    assert "a bug" in rig.breakers()[0].reason
    assert caplog.records[0].message == "exchange could not be asked"


@pytest.mark.parametrize("volume", ["many", None])
def test_nonsense_from_an_adapter_ends_the_refresh_all_the_same(rig, volume, caplog):
    rig.answer(says(Quote("exchange1", "1", volume, None)), FAILS, FAILS)
    for name in rig.catalog.names[:4]:
        assert raised_by(rig, name) is TypeError
    complaints = [record.message for record in caplog.records if record.exc_info]
    assert complaints == ["quotes could not be made a price"]
    rig.answer(rig.quotes(1), rig.quotes(2), rig.quotes(3))
    assert rig.refreshed().price.price == 200.0


def test_an_answer_that_an_adapter_forgot_does_not_block_the_asset(rig):
    rig.answer(rig.quotes(1), rig.quotes(2), None)
    future = rig.refresh()
    rig.clock.advance(3_000)
    rig.refreshes.give_up()
    assert not future.done()
    rig.clock.advance(1)
    rig.refreshes.give_up()
    assert future.result(timeout=0).price.price == 150.0
    assert rig.breakers()[2].reason == "no answer at all"


def test_a_price_belongs_to_the_mode_it_was_asked_for_in(rig):
    rig.silence()
    live = rig.refresh()
    rig.mode = Mode.TEST
    rig.answer(*(rig.quotes(n, 7.0) for n in (1, 2, 3)), mode=Mode.TEST)
    assert rig.refreshed().price.price == cached(rig) == 7.0
    for n, exchange in enumerate(rig.live, start=1):
        exchange.tell_all(rig.quotes(n))
    assert live.result(timeout=0).price.price == 200.0
    assert cached(rig) == 7.0
    rig.mode = Mode.LIVE
    assert cached(rig) == 200.0
    rig.assets.historian.write(rig.clock.now())
    assert {item.price for item in rig.history.all(Mode.LIVE)} == {200.0}
    assert {item.price for item in rig.history.all(Mode.TEST)} == {7.0}


def test_a_mode_has_breakers_of_its_own(rig):
    rig.answer(FAILS, FAILS, FAILS)
    for _ in range(5):
        raised_by(rig)
    rig.mode = Mode.TEST
    assert rig.refreshed().price.price == 200.0


def test_who_waits_may_ask_again_from_within_the_answer(rig):
    rig.silence()
    again = []
    first = rig.refresh()
    first.add_done_callback(lambda _: again.append(rig.refresh()))
    for n, exchange in enumerate(rig.live, start=1):
        exchange.tell_all(rig.quotes(n))
    assert first.done()
    assert not again[0].done()
    for n, exchange in enumerate(rig.live, start=1):
        exchange.tell_all(rig.quotes(n, 5.0))
    assert again[0].result(timeout=0).price.price == 5.0


def test_who_waits_and_fails_harms_nobody_else(rig, caplog):
    caplog.set_level(logging.CRITICAL, "concurrent.futures")
    rig.silence()
    future = rig.refresh()
    told = []
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(told.append)
    for n, exchange in enumerate(rig.live, start=1):
        exchange.tell_all(rig.quotes(n))
    assert told == [future]
    rig.answer(rig.quotes(1), rig.quotes(2), rig.quotes(3))
    assert rig.refreshed().price.price == 200.0


def test_closed_exchanges_end_what_waits(rig):
    rig.silence()
    future = rig.refresh()
    for exchange in rig.live:
        exchange.close()
    assert isinstance(future.exception(timeout=0), NoQuotes)


def test_results_are_counted_by_tier(rig):
    rig.refreshed("btcusdt")
    rig.refreshed("adausdt")
    rig.answer(LISTED_NOT, LISTED_NOT, LISTED_NOT)
    raised_by(rig, "tonusdt")
    rig.answer(FAILS, FAILS, FAILS)
    raised_by(rig, "btcusdt")
    counted = {key: count for key, count in rig.refreshes.counts.items() if count}
    assert counted == {
        ("hot", "ok"): 1,
        ("medium", "ok"): 1,
        ("cold", "not_listed"): 1,
        ("hot", "failed"): 1,
    }
    assert len(rig.refreshes.counts) == 9
