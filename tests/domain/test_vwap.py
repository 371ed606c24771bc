"""The volume-weighted average against exact fractions."""

import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.domain.asset import Quote
from marketflow.domain.errors import NoQuotes
from marketflow.domain.vwap import VwapPolicy, vwap

NOW_MS = 1_746_448_560_000
PLAIN = VwapPolicy()

PRICES = st.floats(1e-9, 1e12)
VOLUMES = st.none() | st.just(0.0) | st.floats(0, 1e15) | st.sampled_from([5e-324, 1e-300, 1.7e308])
QUOTES = st.lists(st.tuples(PRICES, VOLUMES), min_size=1, max_size=8)


def quotes_of(*pairs, age_ms=1_000):
    return [
        Quote(f"exchange{n}", price, volume, NOW_MS - age_ms)
        for n, (price, volume) in enumerate(pairs, start=1)
    ]


def price_of(quotes, policy=PLAIN):
    return vwap("btcusdt", quotes, policy, NOW_MS)


def used(price):
    return [source.quote.exchange for source in price.sources if source.used]


def exactly(pairs):
    """Return sum(price * volume) / sum(volume), and the plain mean if no volume is known."""
    weights = [Fraction(volume or 0) for _, volume in pairs]
    weights = weights if any(weights) else [Fraction(1)] * len(pairs)
    total = sum(Fraction(p) * weight for (p, _), weight in zip(pairs, weights, strict=True))
    return total / sum(weights)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(100.0, 1.0), (200.0, 3.0)], 175.0),
        ([(79_400.0, 2.0), (79_500.0, 2.0), (79_450.36, 0.0)], 79_450.0),
        ([(100.0, None), (200.0, 3.0)], 200.0),
        ([(100.0, 0.0), (200.0, 0.0), (600.0, 0.0)], 300.0),
        ([(100.0, None), (300.0, None)], 200.0),
        ([(100.0, 0.0), (300.0, None)], 200.0),
        ([(42.5, 0.0)], 42.5),
        ([(100.0, 1e308), (200.0, 1e308), (300.0, 1e308)], 200.0),
        ([(100.0, 5e-324), (200.0, 5e-324)], 150.0),
    ],
)
def test_the_price_is_weighted_by_volume(pairs, expected):
    assert price_of(quotes_of(*pairs)).price == pytest.approx(expected, rel=1e-12)


@given(QUOTES)
def test_the_price_equals_the_formula_to_a_trillionth(pairs):
    price = Fraction(price_of(quotes_of(*pairs)).price)
    expected = exactly(pairs)
    assert abs(price - expected) <= expected * Fraction(1, 10**12)


@given(
    st.lists(
        st.tuples(st.floats(5e-324, sys.float_info.max), st.floats(0, sys.float_info.max)),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_the_numbers_the_price_is_within_those_it_is_made_of(pairs):
    prices = [price for price, _ in pairs]
    assert min(prices) <= price_of(quotes_of(*pairs)).price <= max(prices)


def test_a_stale_quote_is_told_and_not_used():
    fresh, edge, stale = (
        Quote(f"exchange{n}", 100.0 * n, 1.0, NOW_MS - age)
        for n, age in enumerate((0, 60_000, 60_001), start=1)
    )
    price = price_of([fresh, edge, stale])
    assert (price.price, used(price)) == (150.0, ["exchange1", "exchange2"])
    assert [source.quote for source in price.sources] == [fresh, edge, stale]


def test_the_price_has_the_time_of_the_newest_quote_used_and_of_its_making():
    old, new = quotes_of((100.0, 1.0), age_ms=5_000), quotes_of((100.0, 1.0), age_ms=2_000)
    price = price_of([*old, *new])
    assert (price.timestamp_ms, price.updated_ms) == (NOW_MS - 2_000, NOW_MS)


def test_a_quote_from_an_exchange_whose_clock_is_ahead_is_used():
    assert price_of(quotes_of((100.0, 1.0), age_ms=-3_000)).timestamp_ms == NOW_MS + 3_000


@pytest.mark.parametrize("quotes", [[], quotes_of((100.0, 1.0), (200.0, 1.0), age_ms=60_001)])
def test_without_a_usable_quote_there_is_no_price(quotes):
    with pytest.raises(NoQuotes, match=r"^No exchange answered$"):
        price_of(quotes)


def test_the_quorum_counts_the_quotes_used():
    quotes = [*quotes_of((100.0, 1.0), (200.0, 1.0)), *quotes_of((300.0, 1.0), age_ms=60_001)]
    assert price_of(quotes, VwapPolicy(min_sources=2)).price == 150.0
    with pytest.raises(NoQuotes):
        price_of(quotes, VwapPolicy(min_sources=3))


def test_a_deviating_quote_is_used_unless_the_filter_is_on():
    quotes = quotes_of((100.0, 1.0), (101.0, 1.0), (900.0, 1.0))
    assert price_of(quotes).price == 367.0
    filtered = price_of(quotes, VwapPolicy(max_deviation=0.05))
    assert (filtered.price, used(filtered)) == (100.5, ["exchange1", "exchange2"])


def test_the_filter_needs_three_quotes_that_are_not_stale():
    policy = VwapPolicy(max_deviation=0.05)
    assert price_of(quotes_of((100.0, 1.0), (900.0, 1.0)), policy).price == 500.0
    stale = quotes_of((100.0, 1.0), age_ms=60_001)
    assert price_of([*quotes_of((100.0, 1.0), (900.0, 1.0)), *stale], policy).price == 500.0


def test_the_median_of_an_even_number_is_between_the_middle_two():
    quotes = quotes_of((100.0, 1.0), (101.0, 1.0), (103.0, 1.0), (200.0, 1.0))
    filtered = price_of(quotes, VwapPolicy(max_deviation=0.01))
    assert used(filtered) == ["exchange2", "exchange3"]


def test_a_filter_that_leaves_no_quorum_leaves_no_price():
    quotes = quotes_of((100.0, 1.0), (100.0, 1.0), (200.0, 1.0), (200.0, 1.0))
    with pytest.raises(NoQuotes):
        price_of(quotes, VwapPolicy(max_deviation=0.1))
    with pytest.raises(NoQuotes):
        price_of(quotes[:3], VwapPolicy(max_deviation=0.1, min_sources=3))
