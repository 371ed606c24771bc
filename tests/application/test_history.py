"""Periods longer than the window: whole minutes, stored or not, each counted once."""

from dataclasses import replace
from math import fsum, isclose
from random import Random

import pytest

from marketflow.domain.errors import NoPrices, StorageUnavailable
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period
from tests.application.ledger import Ledger
from tests.application.rig import Rig
from tests.examples import minute_row
from tests.fake_sources import line

MINUTE = 60_000
EXCHANGES = ("exchange1", "exchange2")


@pytest.fixture
def market():
    """Return a rig and its ledger after nine minutes, some flushed to the store, some not."""
    rig, ledger, rng = Rig(span_ms=MINUTE), Ledger(), Random(3)
    feeds = {name: rig.feed(name) for name in EXCHANGES}
    for turn in range(540):
        now = rig.clock.advance(1_000)
        for exchange, feed in feeds.items():
            price, at_ms = (
                rng.choice([1.0, 2.0, rng.uniform(1, 2)]),
                now.wall_ms - rng.randint(0, 5_000),
            )
            rig.receive(feed.hear(line("BTCUSDT", price, at_ms)))
            ledger.add(
                *(Mode.LIVE, exchange, "BTCUSDT", price, at_ms),
                received_ms=now.wall_ms,
                received_mono=now.mono_ms,
            )
        rig.store.down = "away" if turn in range(200, 330) else None
        rig.outbox.down = "full" if turn in range(250, 400) else None
        if turn < 500:
            rig.flush(now=turn)
    return rig, ledger


def minutes_of(ledger, exchange, from_ms):
    return {
        key: ticks
        for key, ticks in ledger.minutes.items()
        if exchange in (None, key.exchange) and key.end_ms - MINUTE >= from_ms
    }


@pytest.mark.parametrize("exchange", [None, *EXCHANGES])
@pytest.mark.parametrize("period_ms", [61_000, 3 * MINUTE, 200_001, 8 * MINUTE, 30 * MINUTE])
def test_a_long_period_equals_brute_force_over_its_whole_minutes(market, exchange, period_ms):
    rig, ledger = market
    period = Period("long", period_ms)
    average = rig.prices.average("btcusdt", exchange, period)
    now_ms = rig.clock.now().wall_ms
    assert average.from_ms % MINUTE == 0
    assert now_ms - period_ms <= average.from_ms < now_ms - period_ms + MINUTE
    assert average.to_ms == now_ms
    minutes = minutes_of(ledger, exchange, average.from_ms)
    prices = [sent.price for ticks in minutes.values() for sent in ticks]
    assert average.ticks == len(prices)
    assert isclose(average.price, fsum(prices) / len(prices), rel_tol=1e-9)
    for highest, side in ((True, max), (False, min)):
        answer = rig.prices.extreme("btcusdt", exchange, period, highest=highest)
        best = side(prices)
        equals = [
            (-sent.timestamp_ms, key.exchange)
            for key, ticks in minutes.items()
            for sent in ticks
            if sent.price == best
        ]
        assert (answer.price, answer.ticks) == (best, len(prices))
        assert (-answer.timestamp_ms, answer.exchange) == min(equals)


@pytest.mark.parametrize("exchange", [None, *EXCHANGES])
def test_the_statistics_of_a_long_period_equal_brute_force(market, exchange):
    rig, ledger = market
    stats = rig.prices.stats("btcusdt", exchange, Period("long", 200_001))
    minutes = minutes_of(ledger, exchange, stats.from_ms)
    sent = [(key.exchange, one) for key, ticks in minutes.items() for one in ticks]
    prices = [one.price for _, one in sent]
    first = min(sent, key=lambda pair: (pair[1].timestamp_ms, pair[0]))
    # of one time on one exchange the last received
    last = min(reversed(sent), key=lambda pair: (-pair[1].timestamp_ms, pair[0]))
    assert (stats.open, stats.close) == (first[1].price, last[1].price)
    assert (stats.low, stats.high, stats.ticks) == (min(prices), max(prices), len(prices))
    assert isclose(stats.average, fsum(prices) / len(prices), rel_tol=1e-9)


def test_the_mean_of_minutes_of_one_price_is_that_price():
    rig = Rig(span_ms=MINUTE)
    for minute in range(1, 4):
        at_ms = rig.clock.now().wall_ms // MINUTE * MINUTE - minute * MINUTE
        sides = {f"{side}_price": 0.1 for side in ("average", "min", "max", "open", "close")}
        row = minute_row(timestamp_ms=at_ms, **sides, tick_count=1)
        rig.store._rows[row.key] = row
    assert rig.prices.average("BTCUSDT", None, Period("30m", 30 * MINUTE))[2:] == (
        0.1,
        rig.clock.now().wall_ms - 30 * MINUTE,
        rig.clock.now().wall_ms,
        3,
    )


def test_a_period_of_the_window_needs_no_store_and_a_longer_one_does(market):
    rig, _ = market
    rig.store.down = "away"
    window, longer = Period("1m", MINUTE), Period("61s", MINUTE + 1_000)
    assert not rig.prices.reads_store(window)
    assert rig.prices.average("BTCUSDT", None, window).ticks > 0
    assert rig.prices.reads_store(longer)
    with pytest.raises(StorageUnavailable):
        rig.prices.average("BTCUSDT", None, longer)
    with pytest.raises(StorageUnavailable):
        rig.prices.extreme("BTCUSDT", None, longer, highest=True)


def test_the_other_modes_minutes_are_not_in_the_answer(market):
    rig, _ = market
    rig.switch(Mode.TEST, 1)
    with pytest.raises(NoPrices):
        rig.prices.average("BTCUSDT", None, Period("30m", 30 * MINUTE))
    rig.switch(Mode.LIVE, 2)
    assert rig.prices.average("BTCUSDT", None, Period("30m", 30 * MINUTE)).ticks == 1_080


def test_of_two_versions_of_a_minute_the_one_with_more_ticks_counts_and_alone():
    rig = Rig(span_ms=MINUTE)
    at_ms = rig.clock.now().wall_ms
    rig.receive(rig.feed("exchange1").hear(line("BTCUSDT", 9.0, at_ms)))
    stored = minute_row(
        timestamp_ms=at_ms // MINUTE * MINUTE + MINUTE,
        **{f"{side}_price": 2.0 for side in ("average", "min", "max", "open", "close")},
        tick_count=5,
    )
    for version, ticks, price in ((stored, 5, 2.0), (replace(stored, tick_count=1), 1, 9.0)):
        rig.store._rows = {version.key: version}
        answer = rig.prices.average("BTCUSDT", None, Period("30m", 30 * MINUTE))
        assert (answer.ticks, answer.price) == (ticks, price)
