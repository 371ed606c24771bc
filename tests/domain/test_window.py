"""The window against a brute-force oracle."""

import random
import tracemalloc
from math import fsum, isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.domain.stat import PriceStat, Rows
from marketflow.domain.tick import MAX_PRICE, Ticks
from marketflow.domain.window import PriceWindow

SPAN = 300_000


class Oracle:
    """Every tick with its clamped key; answers by scanning."""

    def __init__(self):
        self.ticks = []

    def add(self, at, ticks):
        if self.ticks:
            at = max(at, self.ticks[-1][0])
        self.ticks += [(at, price, ts) for ts, price in zip(*ticks, strict=True)]

    def since(self, edge):
        return [tick for tick in self.ticks if tick[0] >= edge]


def check(window, oracle, edge):
    ticks = oracle.since(edge)
    if not ticks:
        assert window.mean(edge) is None
        assert window.extreme(edge, highest=True) is None
        assert window.extreme(edge, highest=False) is None
        assert window.opening(edge) is None
        return
    prices = [price for _, price, _ in ticks]
    high, low, mean = (
        window.extreme(edge, highest=True),
        window.extreme(edge, highest=False),
        window.mean(edge),
    )
    assert (high.price, high.ticks) == (max(prices), len(prices))
    assert (low.price, low.ticks) == (min(prices), len(prices))
    assert high.timestamp_ms == max(ticks, key=lambda t: (t[1], t[0], t[2]))[2]
    assert low.timestamp_ms == max(ticks, key=lambda t: (-t[1], t[0], t[2]))[2]
    assert (mean.ticks, mean.low, mean.high) == (len(prices), min(prices), max(prices))
    assert isclose(mean.total / mean.ticks, fsum(prices) / len(prices), rel_tol=1e-9)
    assert window.opening(edge) == ticks[0][:2]
    assert window.latest == (ticks[-1][0], ticks[-1][1], ticks[-1][2])


def add(window, oracle, at, prices):
    ticks = Ticks([at] * len(prices), prices)
    extend(window, at, ticks)
    oracle.add(at, ticks)


def extend(window, at, ticks):
    """Add *ticks* as one row."""
    stat = PriceStat.of(ticks)
    row = (at, stat.ticks, stat.total, stat.low, stat.low_ms, stat.high, stat.high_ms, stat.open)
    window.extend(Rows(*([value] for value in row)), 0, ticks.prices[-1], ticks.timestamps_ms[-1])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-3, 60_000),
            st.lists(
                st.sampled_from([0.3, 1.0, 1.5, 99999.99, 1e-8]) | st.floats(1e-4, 1e9),
                min_size=1,
                max_size=4,
            ),
        ),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.integers(0, SPAN), max_size=20),
)
def test_any_duration_equals_brute_force(steps, durations):
    window, oracle, at = PriceWindow(SPAN), Oracle(), 1_000_000
    for gap, prices in steps:
        at += gap
        add(window, oracle, at, prices)
        now = oracle.ticks[-1][0]
        for duration in [0, 1, SPAN, *durations]:
            check(window, oracle, now - duration)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "extend", "ask"]),
        st.lists(
            st.tuples(st.integers(-3, 9), st.sampled_from([0.3, 1.0, 1.5, 99999.99])),
            min_size=1,
            max_size=18,
        ),
        st.integers(0, 60),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(-5, 5))
def test_ticks_one_by_one_and_rows_of_many_equal_brute_force_whenever_one_asks(steps, offset):
    window, oracle, at = PriceWindow(SPAN), Oracle(), 1_000_000
    for how, moves, duration in steps:
        ticks = []
        for gap, price in moves:
            at += gap if how == "add" else max(1, gap)
            ticks.append((at, price))
        if how == "add":
            latest = [window.add(at, price, at + 7) for at, price in ticks][-1]
        else:
            ats, prices = map(list, zip(*ticks, strict=True))
            keys, times = [at - offset for at in ats], [at + 7 for at in ats]
            rows = Rows(keys, [1] * len(ats), prices, prices, times, prices, times, prices)
            latest = window.extend(rows, offset, prices[-1], times[-1])
        for at, price in ticks:
            oracle.add(at, Ticks([at + 7], [price]))
        assert window.latest is latest
        assert latest == oracle.ticks[-1]
        if how == "ask":
            check(window, oracle, oracle.ticks[-1][0] - duration)
        at = oracle.ticks[-1][0] - duration // 20
    for edge in {tick[0] for tick in oracle.ticks}:
        check(window, oracle, edge)


def test_random_walks_of_every_rate_equal_brute_force_after_expiry_and_compaction():
    rng = random.Random(7)
    for gap in (1, 7, 250):
        window, oracle, at, price = PriceWindow(20_000), Oracle(), 5_000, 100_000.0
        for i in range(45_000 // gap):
            at += rng.randint(0, 2 * gap)
            price *= 1 + rng.uniform(-0.003, 0.003)
            add(window, oracle, at, [price, price * rng.choice([1, 1, 0.999])])
            if i % max(1, 4_000 // gap) == 0:
                oracle.ticks = oracle.since(at - 20_000)
                for duration in [1, 1_000, 3_000, 20_000, rng.randint(1, 20_000)]:
                    check(window, oracle, at - duration)


def test_a_month_of_ticks_far_from_the_reference_price_keeps_the_mean_exact():
    window, oracle, at = PriceWindow(1_000), Oracle(), 0
    add(window, oracle, 0, [1.0])
    for i in range(3_000):
        at += 1
        prices = [1e5 + 0.1 * (i % 7)] * 3
        low, high = [min(prices)], [max(prices)]
        heavy = Rows([at], [300_000], [fsum(prices) * 100_000], low, [at], high, [at], prices[:1])
        window.extend(heavy, 0, prices[-1], at)
    add(window, oracle, at + 5_000, [99_999.9, 100_000.1, 100_000.3])
    mean = window.mean(at + 5_000)
    assert isclose(
        mean.total / mean.ticks, fsum([99_999.9, 100_000.1, 100_000.3]) / 3, rel_tol=1e-12
    )


def test_a_series_that_lives_longer_than_its_32_bit_keys_stays_exact():
    window, oracle, at = PriceWindow(1_000), Oracle(), 10
    for gap in (0, 400, 2**32 - 700, 600, 200, 2**33, 1, 999):
        at += gap
        add(window, oracle, at, [float(at % 97 + 1), 3.5])
        oracle.ticks = oracle.since(at - 1_000)
        for duration in (0, 1, 500, 1_000):
            check(window, oracle, at - duration)


def test_one_constant_price_has_exactly_that_mean():
    window, at = PriceWindow(SPAN), 0
    for _ in range(1_000):
        at += 13
        extend(window, at, Ticks([at] * 3, [0.1] * 3))
    mean = window.mean(0)
    assert min(max(mean.total / mean.ticks, mean.low), mean.high) == 0.1


def test_an_earlier_key_counts_as_the_newest_and_the_last_received_is_the_latest():
    window = PriceWindow(SPAN)
    window.add(100, 2.0, 100)
    window.add(90, 1.0, 90)
    assert window.latest == (100, 1.0, 90)
    assert window.extreme(100, highest=False) == (1.0, 90, 2)


def test_a_busy_series_needs_no_more_than_33_bytes_a_millisecond():
    # ten megabytes for five minutes of one tick each millisecond
    span = 30_000
    tracemalloc.start()
    window, rng, price = PriceWindow(span), random.Random(1), 100_000.0
    for at in range(1, span * 4 // 3):
        price += rng.uniform(-1, 1)
        window.add(at, price, at)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert span < len(window) <= span * 16 // 15 + 2
    assert size < span * 33


def test_of_equal_prices_at_one_place_the_newest_timestamp_is_told_however_they_were_cut():
    for cuts in ([[100, 90]], [[100], [90]]):
        window = PriceWindow(SPAN)
        for timestamps in cuts:
            ticks = Ticks(timestamps, [5.0] * len(timestamps))
            extend(window, timestamps[0], ticks)
        for highest in (True, False):
            assert window.extreme(0, highest=highest) == (5.0, 100, 2)


@pytest.mark.parametrize("vast", [1e10, MAX_PRICE])
def test_a_vast_price_costs_the_means_after_it_nothing(vast):
    rng, window, oracle = random.Random(1), PriceWindow(1_000), Oracle()
    for at in range(10, 30_000, 10):
        if at < 50:
            add(window, oracle, at, [vast] * 2)
        else:
            price = 0.3 * (1 + rng.random() / 100)
            window.add(at, price, at)
            oracle.add(at, Ticks([at], [price]))
        if at < 200:
            mean = window.mean(0)
            assert isclose(mean.total, fsum(tick[1] for tick in oracle.ticks), rel_tol=1e-9)
        elif at > 1_100 and at % 100 == 0:
            oracle.ticks = oracle.since(at - 1_000)
            check(window, oracle, at - rng.randint(0, 1_000))
