"""Quotes: the same when asked again, near each other on all exchanges, different each second."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeexchange.quotes import quote

NOW_S = 1_795_269_382
ASSETS = ("btcusdt", "adausdt", "shibusdt", "ethbtc", "symbol10000")

times = st.floats(0, 4e9)
names = st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True)


def prices(asset, count, *, exchange=1, step_s=1, seed=0):
    return [quote(exchange, asset, NOW_S + n * step_s, seed).price for n in range(count)]


@given(st.integers(1, 1 << 33), names, times, st.integers(0, (1 << 63) - 1))
def test_every_quote_is_one(exchange, asset, at_s, seed):
    made = quote(exchange, asset, at_s, seed)
    assert (made.symbol, made.timestamp) == (asset, int(at_s))
    assert 0 < made.price < float("inf")
    assert 0 < made.volume < float("inf")
    assert quote(exchange, asset, at_s, seed) == made


@given(names, times, st.integers(0, (1 << 63) - 1))
def test_exchanges_are_a_few_basis_points_apart_whatever_their_seeds(asset, at_s, seed):
    first, second = quote(1, asset, at_s), quote(2, asset, at_s, seed)
    assert first.price == pytest.approx(second.price, rel=0.0015)


def test_exchanges_and_seeds_have_quotes_of_their_own():
    made = [quote(n, "btcusdt", NOW_S, seed) for n in (1, 2, 3) for seed in (0, 1)]
    assert len({one.price for one in made}) == len({one.volume for one in made}) == 6


@pytest.mark.parametrize("asset", ASSETS)
def test_a_price_changes_every_second(asset):
    walked = prices(asset, 1000)
    assert sum(later == last for last, later in pairwise(walked)) <= 20
    assert max(abs(later / last - 1) for last, later in pairwise(walked)) < 0.001


@pytest.mark.parametrize("asset", ASSETS)
def test_a_price_walks_some_percent_in_a_month_and_stays_near_its_base(asset):
    walked = prices(asset, 720, step_s=3600)
    assert 1.03 < max(walked) / min(walked) < 1.18


def test_two_assets_walk_independently():
    ways = [
        [later > last for last, later in pairwise(prices(asset, 500, step_s=3600))]
        for asset in ("symbol9999", "symbol10000")
    ]
    assert 150 < sum(one == other for one, other in zip(*ways, strict=True)) < 350


@pytest.mark.parametrize(
    ("asset", "base"),
    [
        ("btcusdt", 79_450),
        ("btcusdc", 79_450),
        ("ethusdt", 2_420),
        ("ethbtc", 2_420 / 79_450),
        ("shibusdt", 0.0000173),
    ],
)
def test_well_known_assets_have_their_price(asset, base):
    assert prices(asset, 1)[0] == pytest.approx(base, rel=0.09)


def test_other_assets_have_prices_from_cents_to_hundreds():
    made = [quote(1, f"symbol{n}", NOW_S).price for n in range(1000, 2000)]
    assert 0.009 < min(made) < 0.02
    assert 300 < max(made) < 550


@pytest.mark.parametrize(
    ("asset", "digits"), [("btcusdt", 7), ("adausdt", 7), ("ethbtc", 7), ("shibusdt", 7)]
)
def test_prices_have_seven_digits(asset, digits):
    for price in prices(asset, 100):
        assert float(f"{price:.{digits}g}") == price
