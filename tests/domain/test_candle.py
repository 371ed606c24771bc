from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.domain.candle import (
    INTERVALS_MS,
    Candle,
    align,
    align_up,
    candle_of,
    filled,
    merged,
)
from tests.examples import MINUTE_MS, NOON_MS, minute_row


@given(time_ms=st.integers(0, 10**13), interval_ms=st.sampled_from(list(INTERVALS_MS.values())))
def test_every_time_is_in_the_interval_that_begins_where_it_is_aligned(time_ms, interval_ms):
    begin, following = align(time_ms, interval_ms), align_up(time_ms, interval_ms)
    assert begin % interval_ms == following % interval_ms == 0
    assert begin <= time_ms < begin + interval_ms
    assert following - interval_ms < time_ms <= following


def test_a_minute_belongs_to_the_interval_it_lies_in_not_to_the_one_it_ends_at():
    opens = [candle_of(minute_row(), interval).open_ms for interval in INTERVALS_MS.values()]
    assert opens == [
        NOON_MS - 60_000,
        NOON_MS - 300_000,
        NOON_MS - 900_000,
        NOON_MS - 3_600_000,
        NOON_MS - 4 * 3_600_000,
        NOON_MS - 12 * 3_600_000,
    ]


MINUTES = st.builds(
    lambda exchange, minute, low, inner, high, opened, closed, ticks: minute_row(
        exchange=exchange,
        timestamp_ms=NOON_MS + minute * MINUTE_MS,
        min_price=low,
        max_price=low + inner + high,
        open_price=low + inner,
        close_price=low + high,
        open_at_ms=NOON_MS + (minute - 1) * MINUTE_MS + opened,
        close_at_ms=NOON_MS + (minute - 1) * MINUTE_MS + closed,
        tick_count=ticks,
    ),
    st.sampled_from(["a", "b", "c"]),
    st.integers(1, 12),
    *[st.floats(1, 9)] * 3,
    st.integers(0, 3),
    st.integers(4, 7),
    st.integers(1, 50),
)


@given(
    rows=st.lists(MINUTES, unique_by=lambda row: (row.exchange, row.timestamp_ms)), data=st.data()
)
def test_in_whatever_order_minutes_are_merged_the_candles_are_those_of_their_prices(rows, data):
    interval = 5 * MINUTE_MS
    shuffled = data.draw(st.permutations(rows))
    expected = []
    for open_ms in sorted({align(row.timestamp_ms - 1, interval) for row in rows}):
        own = [row for row in rows if open_ms < row.timestamp_ms <= open_ms + interval]
        first = min(own, key=lambda row: (row.open_at_ms, row.exchange))
        last = min(own, key=lambda row: (-row.close_at_ms, row.exchange))
        expected.append(
            (
                open_ms,
                first.open_price,
                max(row.max_price for row in own),
                min(row.min_price for row in own),
                last.close_price,
                sum(row.tick_count for row in own),
            )
        )
    found = merged(candle_of(row, interval) for row in shuffled)
    assert [candle[:6] for candle in found] == expected


def test_equal_times_are_told_apart_by_the_exchange_that_comes_first():
    one, other = minute_row(exchange="a"), minute_row(exchange="b", open_price=99_999.0)
    for rows in ((one, other), (other, one)):
        (candle,) = merged(candle_of(row, MINUTE_MS) for row in rows)
        assert (candle.open, candle.open_on, candle.close_on) == (one.open_price, "a", "a")


def candle_at(minute, *, opened=1.0, closed=2.0):
    open_ms = NOON_MS + minute * MINUTE_MS
    return Candle(open_ms, opened, 3.0, 0.5, closed, 7, open_ms, "a", open_ms + 5, "a")


@pytest.mark.parametrize("price", [None, 9.0])
def test_holes_are_flat_at_the_price_before_them(price):
    candles = [candle_at(2, closed=2.5), candle_at(4, closed=4.5)]
    found = filled(
        candles,
        from_ms=NOON_MS,
        to_ms=NOON_MS + 7 * MINUTE_MS,
        interval_ms=MINUTE_MS,
        price=price,
    )
    assert all(later[0] - one[0] == MINUTE_MS for one, later in pairwise(found))
    flats = {
        (candle.open_ms - NOON_MS) // MINUTE_MS: candle[1:5] for candle in found if not candle.ticks
    }
    before = {} if price is None else {0: (9.0,) * 4, 1: (9.0,) * 4}
    assert flats == {**before, 3: (2.5,) * 4, 5: (4.5,) * 4, 6: (4.5,) * 4}
    assert [candle for candle in found if candle.ticks] == candles
