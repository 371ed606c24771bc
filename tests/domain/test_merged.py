"""Several windows read as one: against all their ticks, and against each window's own answers."""

from math import fsum, isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.domain.merged import ends_of, extreme_of, mean_of
from marketflow.domain.window import PriceWindow

SPAN = 300_000
NAMES = ("kraken", "binance", "coinbase")  # not in the order of their names
# a window's sums keep 77 bits: beside prices much vaster than these, a mean loses digits
PRICES = st.sampled_from([0.1, 0.3, 99_999.99, 1.5e6]) | st.floats(1e-4, 1e6)
TICKS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.integers(-2, 3) | st.sampled_from([0, 500, 70_000]),  # ms after the one before
        PRICES,
        st.integers(0, 3),  # how much earlier it is stamped
    ),
    max_size=60,
)


def played(ticks):
    """Return windows and, in the same order, (name, place, price, timestamp) of every tick."""
    windows, known, at = {name: PriceWindow(SPAN) for name in NAMES}, [], 1_000_000
    for name, gap, price, age in ticks:
        at += gap
        place = max([at, *(tick[1] for tick in known if tick[0] == name)])
        windows[name].add(at, price, at - age)
        known.append((name, place, price, at - age))
    return windows, known, at


def extreme_among(ticks, *, highest):
    """Return what `extreme_of` must: each window's own newest of equals, then the best of them."""
    sign = -1 if highest else 1
    found = []
    for name in {tick[0] for tick in ticks}:
        own = [(sign * price, -at, -stamp) for who, at, price, stamp in ticks if who == name]
        price, _, stamp = min(own)
        found.append((price, stamp, name))
    price, stamp, name = min(found)
    return name, sign * price, -stamp, len(ticks)


def mean_of_each(windows, since):
    """Return what `mean_of` must, from the means the windows tell of themselves."""
    means = [mean for window in windows if (mean := window.mean(since)) is not None]
    if not means:
        return None
    ticks, total = sum(mean.ticks for mean in means), sum(mean.total for mean in means)
    low, high = min(mean.low for mean in means), max(mean.high for mean in means)
    return min(max(total / ticks, low), high), ticks, low, high


def ends_among(ticks):
    """Return the first and last prices that `ends_of` may tell."""
    first, last = min(tick[1] for tick in ticks), max(tick[1] for tick in ticks)
    opens = min(tick[0] for tick in ticks if tick[1] == first)
    closes = min(tick[0] for tick in ticks if tick[1] == last)
    return (
        next(price for name, at, price, _ in ticks if (name, at) == (opens, first)),
        [price for name, at, price, _ in ticks if (name, at) == (closes, last)][-1],
    )


@settings(max_examples=300, deadline=None)
@given(TICKS, st.lists(st.integers(0, SPAN), max_size=10), st.sampled_from([NAMES, NAMES[:1]]))
def test_any_duration_over_any_windows_equals_brute_force(ticks, durations, asked):
    windows, known, now = played(ticks)
    windows = {name: windows[name] for name in asked}
    for duration in [0, 1, SPAN, *durations]:
        since = now - duration
        within = [tick for tick in known if tick[0] in asked and tick[1] >= since]
        mean = mean_of(windows.values(), since)
        assert mean == mean_of_each(windows.values(), since)
        if not within:
            assert mean is None
            assert ends_of(windows.items(), since) is None
            assert extreme_of(windows.items(), since, highest=True) is None
            continue
        prices = [tick[2] for tick in within]
        assert mean[1:] == (len(prices), min(prices), max(prices))
        assert isclose(mean[0], fsum(prices) / len(prices), rel_tol=1e-9)
        assert mean[2] <= mean[0] <= mean[3]
        assert ends_of(windows.items(), since) == ends_among(within)
        for highest in (True, False):
            found = extreme_of(windows.items(), since, highest=highest)
            assert found == extreme_among(within, highest=highest)
            best = [
                window.extreme(since, highest=highest)
                for window in windows.values()
                if window.mean(since)
            ]
            assert found[1] == (max if highest else min)(one.price for one in best)


@pytest.mark.parametrize("highest", [True, False])
def test_of_equal_prices_the_latest_is_told_and_of_equally_late_ones_the_first_name(highest):
    windows, _, _ = played([("kraken", 0, 5.0, 0), ("binance", 1, 5.0, 0), ("coinbase", 0, 5.0, 0)])
    assert extreme_of(windows.items(), 0, highest=highest) == ("binance", 5.0, 1_000_001, 3)


def test_the_mean_of_one_constant_price_is_that_price():
    ticks = [(name, 13, 0.1, 0) for _ in range(500) for name in NAMES]
    windows, _, now = played(ticks)
    assert mean_of(windows.values(), now - 10_000)[0] == 0.1


def test_every_duration_is_exact_after_older_ticks_were_forgotten():
    windows = {name: PriceWindow(1_000) for name in NAMES}
    for at in range(1, 3_000):
        for window in windows.values():
            window.add(at, at / 10, at)
    kept = {name: len(window) for name, window in windows.items()}
    assert max(kept.values()) < 2_999
    for since in range(3_000 - max(kept.values()), 3_000, 7):
        ticks = 3 * (3_000 - since)
        assert extreme_of(windows.items(), since, highest=True) == ("binance", 299.9, 2_999, ticks)
        assert mean_of(windows.values(), since)[1:] == (ticks, since / 10, 299.9)
        assert ends_of(windows.items(), since) == (since / 10, 299.9)


def test_what_rounding_left_of_a_vast_price_is_in_no_later_mean():
    ticks = [(name, 100, 1e12 / 7, 0) for name in NAMES for _ in range(3)]
    ticks += [(name, 10, price, 0) for name, price in zip(NAMES, (0.3, 0.1, 0.7), strict=True)]
    windows, _, now = played(ticks)
    assert mean_of(windows.values(), now - 20)[0] == (0.3 + 0.1 + 0.7) / 3
