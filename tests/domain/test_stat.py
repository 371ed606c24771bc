"""Summaries of ticks against a brute-force oracle."""

from functools import reduce
from math import fsum, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import MAX_PRICE, Ticks

PRICES = st.sampled_from([0.1, 0.3, 1.5, 99_999.99]) | st.floats(1e-8, 1e9)
TICKS = st.lists(st.tuples(st.integers(1, 60), PRICES), min_size=1, max_size=30)


def stat_of(ticks):
    return PriceStat.of(Ticks([at for at, _ in ticks], [price for _, price in ticks]))


def check(stat, ticks):
    prices = [price for _, price in ticks]
    low, high = min(prices), max(prices)
    first, last = min(at for at, _ in ticks), max(at for at, _ in ticks)
    assert (stat.ticks, stat.low, stat.high) == (len(ticks), low, high)
    assert stat.low_ms == max(at for at, price in ticks if price == low)
    assert stat.high_ms == max(at for at, price in ticks if price == high)
    assert (stat.open, stat.open_ms) == next((p, at) for at, p in ticks if at == first)
    assert (stat.close, stat.close_ms) == next((p, at) for at, p in reversed(ticks) if at == last)
    assert isclose(stat.average, fsum(prices) / len(prices), rel_tol=1e-12)
    assert low <= stat.average <= high


@given(TICKS)
def test_a_summary_equals_brute_force_in_whatever_order_the_ticks_come(ticks):
    check(stat_of(ticks), ticks)


@given(st.lists(TICKS, min_size=1, max_size=8))
def test_merged_summaries_equal_the_summary_of_all_ticks(chunks):
    merged = reduce(PriceStat.merge, map(stat_of, chunks))
    check(merged, [tick for chunk in chunks for tick in chunk])


@given(st.integers(1, 60), st.lists(PRICES, min_size=1))
def test_what_shares_one_time_is_summed_up_alike_by_the_short_ways(at, prices):
    assert PriceStat.of_burst(at, prices) == PriceStat.of(Ticks([at] * len(prices), prices))
    assert PriceStat.of_one(at, prices[0]) == PriceStat.of_burst(at, prices[:1])
    check(PriceStat.of_one(at, prices[0]), [(at, prices[0])])


@given(TICKS, TICKS, TICKS)
def test_merging_is_associative(a, b, c):
    a, b, c = map(stat_of, (a, b, c))
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    assert left[3:] == right[3:]
    assert left.ticks == right.ticks
    assert isclose(left.average, right.average, rel_tol=1e-12)


@pytest.mark.parametrize("price", [0.1, 0.3, 79_450.12, 1e-8])
def test_the_average_of_one_constant_price_is_exactly_that_price(price):
    chunk = stat_of([(1, price)] * 3)
    merged = reduce(PriceStat.merge, [chunk] * 1_000)
    assert chunk.average == merged.average == price


def test_a_minute_of_thousands_of_chunks_keeps_its_true_mean():
    prices = [1e9, *[1e-7 * (i % 9 + 1) for i in range(20_000)], 1e9]
    merged = reduce(PriceStat.merge, [stat_of([(1, price)]) for price in prices])
    assert isclose(merged.total + merged.carry, fsum(prices), rel_tol=1e-15)


@given(st.lists(st.floats(1e9, MAX_PRICE), min_size=1, max_size=6), st.lists(PRICES, max_size=3))
def test_the_largest_prices_leave_the_mean_what_it_is(vast, usual):
    ticks = [(1, price) for price in (*vast, *usual)]
    check(stat_of(ticks), ticks)
    check(reduce(PriceStat.merge, [stat_of([tick]) for tick in ticks]), ticks)
