"""The minute book: which minute a tick belongs to, when a row is due, and when it is forgotten."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.domain.minute import MinuteBook, MinuteKey, MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import Ticks, Turn

MINUTE = 60_000
NOON = 1_746_446_400_000
RULES = MinuteRules()


def key(end_ms=NOON, symbol="BTCUSDT", exchange="exchange1", mode=Mode.LIVE):
    return MinuteKey(mode, exchange, symbol, end_ms)


def stat(*prices, at=NOON - 1):
    return PriceStat.of(Ticks([at] * len(prices), list(prices)))


def add(book, key, stat):
    book.add(key.mode, key.exchange, key.end_ms, {key.symbol: stat})


def book_of(*keys):
    book = MinuteBook(RULES)
    for one in keys:
        add(book, one, stat(1.0))
    return book


def ends(rows):
    return [row.timestamp_ms for row in rows]


@pytest.mark.parametrize(
    ("timestamp_ms", "end_ms"),
    [(NOON - 1, NOON), (NOON, NOON + MINUTE), (NOON + MINUTE - 1, NOON + MINUTE)],
)
def test_the_tick_on_the_boundary_belongs_to_the_new_minute(timestamp_ms, end_ms):
    assert RULES.end_of(timestamp_ms) == end_ms


@given(st.integers(1, 10**13), st.sampled_from([1_000, 2_000, 30_000, 60_000]))
def test_every_tick_is_within_its_minute(timestamp_ms, interval_ms):
    end_ms = MinuteRules(interval_ms=interval_ms).end_of(timestamp_ms)
    assert end_ms % interval_ms == 0
    assert end_ms - interval_ms <= timestamp_ms < end_ms


def test_a_tick_is_late_when_its_minute_ended_more_than_three_intervals_ago():
    assert not RULES.is_late(NOON, NOON + 3 * MINUTE)
    assert RULES.is_late(NOON, NOON + 3 * MINUTE + 1)


def test_a_row_is_due_once_its_grace_is_over_and_only_once():
    book = book_of(key())
    assert book.next_due_ms() == NOON + RULES.grace_ms
    assert book.due(NOON + RULES.grace_ms - 1) == []
    assert ends(book.due(NOON + RULES.grace_ms)) == [NOON]
    assert book.due(NOON + RULES.grace_ms) == []
    assert book.next_due_ms() is None


def test_a_late_tick_makes_the_whole_row_due_again():
    book = book_of(key())
    book.due(NOON + 10_000)
    add(book, key(), stat(3.0))
    (row,) = book.due(NOON + 10_000)
    assert (row.tick_count, row.average_price, row.max_price) == (2, 2.0, 3.0)


def test_an_open_minute_is_not_due_but_can_be_handed_out():
    book = book_of(key(NOON), key(NOON + MINUTE))
    assert ends(book.due(NOON + RULES.grace_ms)) == [NOON]
    assert ends(book.touched()) == [NOON + MINUTE]
    assert book.touched() == []


def test_rows_are_handed_out_oldest_first():
    book = book_of(key(NOON, "B"), key(NOON - MINUTE, "C"), key(NOON, "A"))
    rows = book.due(NOON + RULES.grace_ms)
    assert [(row.timestamp_ms, row.pair_name) for row in rows] == [
        (NOON - MINUTE, "C"),
        (NOON, "A"),
        (NOON, "B"),
    ]


def test_a_minute_is_forgotten_when_it_is_written_and_no_tick_can_touch_it():
    book = book_of(key())
    book.discard(NOON + 4 * MINUTE)
    assert len(book) == 1, "not written yet"
    book.due(NOON + 4 * MINUTE)
    book.discard(NOON + 3 * MINUTE)
    assert len(book) == 1, "a tick received then would still count"
    book.discard(NOON + 3 * MINUTE + 1)
    assert len(book) == 0


def test_the_rows_of_a_pair_are_found_by_mode_exchange_and_time():
    book = book_of(
        key(),
        key(exchange="exchange2"),
        key(mode=Mode.TEST),
        key(symbol="DOGEUSDT"),
        key(NOON + MINUTE),
    )

    def found(exchange, from_ms=NOON, to_ms=NOON + 1):
        rows = book.rows(Mode.LIVE, "BTCUSDT", exchange, from_ms, to_ms)
        return sorted((row.exchange, row.timestamp_ms) for row in rows)

    assert found(None) == [("exchange1", NOON), ("exchange2", NOON)]
    assert found("exchange2") == [("exchange2", NOON)]
    assert found(None, NOON + 1, NOON + MINUTE) == []
    assert found(None, NOON + 1, NOON + MINUTE + 1) == [("exchange1", NOON + MINUTE)]


@pytest.mark.parametrize("price", [0.1, 0.3, 99_999.99])
def test_a_minute_of_one_constant_price_averages_to_exactly_that_price(price):
    book = MinuteBook(RULES)
    for _ in range(600):
        add(book, key(), stat(price, price, price))
    (row,) = book.touched()
    assert row.average_price == row.min_price == row.max_price == price
    assert row.tick_count == 1_800


TURNS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("ABC"), min_size=1, unique=True),
        st.sampled_from([1.0, 1.5]) | st.floats(1e-6, 1e6),
        st.integers(1, 4),
        st.sampled_from(["turn", "turn", "turn", "stats", "look"]),
    ),
    max_size=80,
)


@given(TURNS)
def test_turns_amount_to_the_same_as_their_ticks_one_by_one(steps):
    book, plain = MinuteBook(RULES), MinuteBook(RULES)
    for symbols, price, age, how in steps:
        ticks = [(symbol, NOON - age - i, price + i) for i, symbol in enumerate(symbols)]
        for symbol, at, amount in ticks:
            add(plain, key(symbol=symbol), stat(amount, at=at))
            if how == "stats":
                add(book, key(symbol=symbol), stat(amount, at=at))
        if how != "stats":
            names, *columns = zip(*ticks, strict=True)
            book.add_turn(Mode.LIVE, "exchange1", NOON, Turn(names, *columns, (), ()))
        if how == "look":
            assert values(book.rows(Mode.LIVE, "A", None, 0, NOON + 1)) == values(
                plain.rows(Mode.LIVE, "A", None, 0, NOON + 1)
            )
    assert book.next_due_ms() == plain.next_due_ms()
    assert len(book) == len(plain)
    assert values(book.touched()) == values(plain.touched())
    assert book.touched() == []


def values(rows):
    return [replace(row, average_price=pytest.approx(row.average_price, rel=1e-12)) for row in rows]


def test_a_row_is_due_again_after_another_turn_and_kept_until_it_is_handed_out():
    book = MinuteBook(RULES)
    turn = Turn(("A", "B"), (NOON - 1,) * 2, (1.0, 2.0), (), ())
    for ticks in (1, 2):
        book.add_turn(Mode.LIVE, "exchange1", NOON, turn)
        book.discard(NOON + 9 * MINUTE)
        assert [row.tick_count for row in book.due(NOON + RULES.grace_ms)] == [ticks] * 2
    book.discard(NOON + 9 * MINUTE)
    assert len(book) == 0


def test_a_row_names_its_key():
    (row,) = book_of(key()).touched()
    assert row.key == key()
