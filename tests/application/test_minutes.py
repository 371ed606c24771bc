from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.application.history import Place
from marketflow.domain.errors import Restoring, StorageUnavailable, UnknownExchange, UnknownSymbol
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tests.application.minute_rig import MinuteRig
from tests.fake_sources import EXCHANGES

MINUTE = 60_000
DAY = 86_400_000
SHORT = MinuteRules(interval_ms=2_000, grace_ms=200)


def page(rig, exchange=None, *, from_ms=None, to_ms=None, after=None, limit=5_000):
    return rig.history.page(
        "btcusdt", exchange, from_ms=from_ms, to_ms=to_ms, after=after, limit=limit
    )


def places(rows):
    return [(row.timestamp_ms, row.exchange) for row in rows]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rules=st.sampled_from([MinuteRules(), SHORT]),
    exchange=st.sampled_from([None, "exchange2"]),
    data=st.data(),
)
def test_history_holds_every_minute_that_had_its_grace_wherever_it_is(seed, rules, exchange, data):
    rig = MinuteRig(rules=rules)
    rig.play(seed, 100, gap_ms=rules.interval_ms // 2)
    told = sorted((end, name) for name, end in rig.minutes_told(exchange))
    whole = page(rig, exchange)
    assert places(whole.rows) == told
    for row in whole.rows:
        begin = row.timestamp_ms - rules.interval_ms
        ticks = [
            tick.price
            for tick in rig.told
            if tick.exchange == row.exchange and begin <= tick.timestamp_ms < row.timestamp_ms
        ]
        assert (row.tick_count, row.min_price, row.max_price) == (
            len(ticks),
            min(ticks),
            max(ticks),
        )
    edge = st.integers(rig.now_ms - 40 * rules.interval_ms, rig.now_ms + rules.interval_ms)
    start, end = sorted(data.draw(st.tuples(edge, edge)))
    limit = data.draw(st.integers(1, 10))
    inside = [place for place in told if start <= place[0] < end]
    first = page(rig, exchange, from_ms=start, to_ms=end, limit=limit)
    assert places(first.rows) == inside[:limit]
    assert (first.next is None) == (len(inside) <= limit)
    newest = page(rig, exchange, to_ms=end, limit=limit)
    assert places(newest.rows) == [place for place in told if place[0] < end][-limit:]
    assert newest.next is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), limit=st.integers(1, 7), from_start=st.booleans())
def test_pages_joined_are_the_whole_though_rows_arrive_meanwhile(seed, limit, from_start):
    rig = MinuteRig(rules=SHORT)
    rig.play(seed, 60, gap_ms=900)
    begin = 0 if from_start else rig.now_ms - 20_000
    known = {place for place in rig.minutes_told() if place[1] >= begin}
    found, after = [], None
    for _ in range(400):
        one = page(rig, from_ms=begin, after=after, limit=limit)
        found += places(one.rows)
        after = one.next
        if after is None:
            break
        if len(found) < 60:
            rig.clock.advance(1_100)
            rig.tell("exchange1", 5.0)  # at most one new row in two pages
            rig.flush()
    assert found == sorted(set(found))
    assert known <= {(name, end) for end, name in found}
    assert {(name, end) for end, name in found} <= rig.minutes_told()


def test_a_cursor_before_the_beginning_changes_nothing():
    rig = MinuteRig()
    for _ in range(4):
        rig.tell("exchange1", 5.0)
        rig.clock.advance(MINUTE)
    rig.clock.advance(MINUTE)
    (*_, last) = page(rig).rows
    after = Place(last.timestamp_ms - 2 * MINUTE, "exchange1")
    assert places(page(rig, from_ms=last.timestamp_ms, after=after).rows) == places([last])
    assert places(page(rig, after=after, limit=1).rows) == [
        (last.timestamp_ms - MINUTE, "exchange1")
    ]


def test_an_open_minute_is_no_history_and_one_in_its_grace_is_none_yet():
    rig = MinuteRig()
    rig.clock.advance(MINUTE - rig.now_ms % MINUTE)
    rig.tell("exchange1", 5.0)
    rig.clock.advance(MINUTE + rig.rig.rules.grace_ms - 1)
    assert page(rig).rows == []
    rig.clock.advance(1)
    assert len(page(rig).rows) == 1
    assert rig.store.all() == [], "it is in memory only"


def test_the_minute_that_a_stop_has_stored_early_is_not_shown_before_it_is_over():
    rig = MinuteRig()
    rig.tell("exchange1", 5.0)
    rig.rig.finish()
    assert len(rig.store.all()) == 1
    assert page(rig).rows == []


def test_a_page_is_final_when_no_tick_can_come_for_it_any_more():
    rig = MinuteRig()
    end = rig.now_ms - rig.now_ms % MINUTE
    rig.tell("exchange1", 5.0, end - 1)
    rig.clock.advance(end + 4 * MINUTE + rig.rig.rules.grace_ms - 1 - rig.now_ms)
    assert not page(rig, to_ms=end + 1).is_final
    rig.clock.advance(1)
    assert page(rig, to_ms=end + 1).is_final
    assert not page(rig, to_ms=end + 2).is_final
    assert not page(rig).is_final


@pytest.mark.parametrize("ask", ["page", "gaps"])
def test_what_cannot_be_answered_is_said_never_a_shorter_history(ask):
    rig = MinuteRig()
    question = (
        (lambda symbol, exchange: page(rig, exchange) and rig.minutes.open(symbol, exchange))
        if ask == "page"
        else (lambda symbol, exchange: rig.gaps.ask(symbol, exchange, from_ms=None, to_ms=None))
    )
    with pytest.raises(UnknownSymbol):
        question("nope", None)
    with pytest.raises(UnknownExchange):
        question("BTCUSDT", "nope")
    for part in (rig.store, rig.outbox):
        rig.outbox.down = None
        rig.tell("exchange1", 5.0, rig.now_ms - 2 * MINUTE)
        rig.store.down = "away"
        rig.flush()  # something waits in the outbox
        rig.store.down = None
        part.down = "away"
        with pytest.raises(StorageUnavailable, match="away"):
            question("BTCUSDT", None)
    rig.rig.market.restoring = True
    with pytest.raises(Restoring):
        question("BTCUSDT", None)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rules=st.sampled_from([MinuteRules(), SHORT]),
    exchange=st.sampled_from([None, "exchange2"]),
    data=st.data(),
)
def test_gaps_and_minutes_together_are_the_whole_time(seed, rules, exchange, data):
    rig, step = MinuteRig(rules=rules), rules.interval_ms
    rig.play(seed, 60, gap_ms=data.draw(st.sampled_from([step // 2, 2 * step])))
    edge = st.integers(rig.now_ms - 60 * step, rig.now_ms + step)
    from_ms, to_ms = sorted(data.draw(st.tuples(edge, edge)))
    found = rig.gaps.ask("BTCUSDT", exchange, from_ms=from_ms, to_ms=to_ms)
    missing = [
        (gap.exchange, end)
        for gap in found.gaps
        for end in range(gap.from_ms + step, gap.to_ms + 1, step)
    ]
    told = rig.minutes_told(exchange)
    names = EXCHANGES if exchange is None else (exchange,)
    first = -(-from_ms // step) * step + step
    last = min(to_ms, rig.now_ms - rules.grace_ms) // step * step
    assert sorted(missing) == sorted(
        (name, end)
        for name in names
        for end in range(first, last + 1, step)
        if (name, end) not in told
    )
    gaps = {(gap.exchange, gap.to_ms): gap for gap in found.gaps}
    assert not any((gap.exchange, gap.from_ms) in gaps for gap in found.gaps), "gaps are joined"


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "shown"),
    [
        (MINUTE + 1, 2 * MINUTE - 1, (MINUTE, MINUTE)),
        (-9 * MINUTE, -8 * MINUTE, (0, 0)),
        (None, -1, (0, 0)),
    ],
)
def test_gaps_of_a_time_without_a_whole_minute_are_those_of_no_time(from_ms, to_ms, shown):
    found = MinuteRig().gaps.ask("BTCUSDT", None, from_ms=from_ms, to_ms=to_ms)
    assert (found.from_ms, found.to_ms, found.gaps) == (*shown, [])


def test_gaps_of_the_last_day_begin_with_an_exchanges_first_minute_of_all():
    rig = MinuteRig()
    start = rig.now_ms - rig.now_ms % MINUTE
    rig.tell("exchange1", 5.0, start)
    rig.clock.advance(2 * DAY)
    rig.flush()
    told_ms = rig.now_ms - rig.now_ms % MINUTE
    rig.tell("exchange2", 5.0, told_ms)
    rig.clock.advance(10 * MINUTE + rig.rig.rules.grace_ms)
    found = rig.gaps.ask("BTCUSDT", None, from_ms=None, to_ms=None)
    end = rig.now_ms - rig.now_ms % MINUTE
    assert (found.from_ms, found.to_ms) == (end - DAY, end)
    assert found.gaps == [("exchange1", end - DAY, end), ("exchange2", told_ms + MINUTE, end)]


def test_a_waiting_row_in_the_middle_of_stored_ones_makes_no_gap():
    rig = MinuteRig()
    for _ in range(10):
        rig.tell("exchange1", 5.0)
        rig.clock.advance(MINUTE)
        rig.flush()
    rig.clock.advance(5 * MINUTE)
    rig.flush()
    rows = rig.store.all()
    assert len(rows) == 10
    rig.outbox.put([replace(rows[4], tick_count=99)])
    begin, end = rows[0].timestamp_ms - MINUTE, rows[-1].timestamp_ms
    assert rig.gaps.ask("BTCUSDT", "exchange1", from_ms=begin, to_ms=end).gaps == []
    assert page(rig).rows[4].tick_count == 99


def test_modes_never_mix():
    rig = MinuteRig()
    rig.tell("exchange1", 5.0)
    rig.clock.advance(3 * MINUTE)
    rig.flush()
    assert len(page(rig).rows) == 1
    rig.rig.switch(Mode.TEST, 1)
    assert page(rig).rows == []
