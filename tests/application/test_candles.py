import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.application.candles import Wanted
from marketflow.domain.candle import INTERVALS_MS, align, align_up
from marketflow.domain.errors import Restoring, StorageUnavailable, UnknownExchange, UnknownSymbol
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tests.application.minute_rig import MinuteRig

MINUTE = 60_000
HOUR = 60 * MINUTE
SHORT = MinuteRules(interval_ms=2_000, grace_ms=200)


def asked(rig, exchange=None, **wanted):
    return rig.candles.ask("btcusdt", exchange, Wanted(**wanted))


def plain(candles):
    return [candle[:6] for candle in candles]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rules=st.sampled_from([MinuteRules(), SHORT, MinuteRules(interval_ms=15_000)]),
    exchange=st.sampled_from([None, "exchange2"]),
    data=st.data(),
)
def test_candles_of_every_interval_are_those_of_the_ticks_the_open_one_too(
    seed, rules, exchange, data
):
    rig = MinuteRig(rules=rules)
    rig.play(seed, 120, gap_ms=data.draw(st.sampled_from([rules.interval_ms // 2, 7 * MINUTE])))
    for interval in INTERVALS_MS.values():
        told = rig.candles_told(exchange, interval)
        found = asked(rig, exchange, interval_ms=interval, limit=5_000)
        assert plain(found.candles) == told
        closed = [candle for candle in told if candle[0] + interval <= rig.now_ms]
        assert found.closed == len(closed)
        finished = asked(rig, exchange, interval_ms=interval, limit=5_000, include_open=False)
        assert plain(finished.candles) == closed
        check_ranges(rig, told, exchange, interval, data)


def check_ranges(rig, told, exchange, interval, data):
    edge = st.integers(rig.now_ms - 30 * interval, rig.now_ms + 2 * interval)
    start, end = sorted(data.draw(st.tuples(edge, edge)))
    limit = data.draw(st.integers(1, 12))
    inside = [candle for candle in told if start <= candle[0] < end]
    found = asked(rig, exchange, interval_ms=interval, from_ms=start, to_ms=end, limit=limit)
    assert plain(found.candles) == inside[:limit]
    assert found.next_from_ms == (inside[limit][0] if len(inside) > limit else None)
    before = [candle for candle in told if candle[0] < end]
    found = asked(rig, exchange, interval_ms=interval, to_ms=end, limit=limit)
    assert (plain(found.candles), found.next_from_ms) == (before[-limit:], None)
    for from_ms, beginning in ((start, start), (None, end - limit * interval)):
        found = asked(
            rig,
            exchange,
            interval_ms=interval,
            from_ms=from_ms,
            to_ms=end,
            limit=limit,
            fill=True,
        )
        present = align(rig.now_ms, interval) + interval
        check_filled(
            plain(found.candles), told, from_ms, beginning, min(end, present), interval, limit
        )


def check_filled(found, told, from_ms, beginning, end, interval, limit):
    """Compare with every interval from the first price on, each flat or as it was."""
    line, price, known = {}, None, {candle[0]: candle for candle in told}
    present = align_up(end, interval)
    for open_ms in range(min(known, default=present), present, interval):
        candle = known.get(open_ms) or (open_ms, price, price, price, price, 0)
        line[open_ms], price = candle, candle[4]
    if from_ms is None:
        wanted = [candle for open_ms, candle in line.items()][-limit:]
    else:
        wanted = [candle for open_ms, candle in line.items() if open_ms >= beginning][:limit]
    assert found == wanted


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), exchange=st.sampled_from([None, "exchange2"]), data=st.data())
def test_bars_reach_back_to_be_enough_and_are_never_trimmed(seed, exchange, data):
    rig = MinuteRig()
    rig.play(seed, 80, gap_ms=data.draw(st.sampled_from([30_000, 7 * MINUTE])))
    interval = data.draw(st.sampled_from(list(INTERVALS_MS.values())))
    told = rig.candles_told(exchange, interval)
    edge = st.integers(rig.now_ms - 40 * interval, rig.now_ms + 2 * interval)
    start, end = sorted(data.draw(st.tuples(edge, edge)))
    least, most = data.draw(st.integers(0, 30)), data.draw(st.integers(5, 30))
    found = rig.candles.bars(
        "BTCUSDT", exchange, interval, from_ms=start, to_ms=end, at_least=least, at_most=most
    )
    inside = [candle for candle in told if start <= candle[0] < end]
    before = [candle for candle in told if candle[0] < start]
    missing = max(0, min(least, most) - len(inside))
    expected = before[max(0, len(before) - missing) :] * bool(missing) + inside[-most:]
    assert plain(found.candles) == expected
    assert found.newest_before_ms == (before[-1][0] if before and not expected else None)


def test_times_without_ticks_are_leaped_over_not_searched_through():
    rig = MinuteRig()
    for price in (1.0, 2.0, 3.0):
        rig.tell("exchange1", price)
        rig.clock.advance(400 * 24 * HOUR)
        rig.flush()
    edges, spans = [], []
    rig.store.rows = counted(rig.store.rows, edges)
    rig.store.candles = counted(rig.store.candles, spans)
    found = asked(rig, interval_ms=MINUTE, limit=500)
    assert [candle.open for candle in found.candles] == [1.0, 2.0, 3.0]
    assert len(edges) + len(spans) <= 3 * 3 + 1
    assert all(to_ms - from_ms <= 500 * MINUTE for *_, from_ms, to_ms, _ in spans)


def counted(method, questions):
    def ask(*question):
        questions.append(question)
        return method(*question)

    return ask


def test_a_tick_ahead_of_our_clock_shows_when_its_interval_begins():
    rig = MinuteRig()
    ahead_ms = MINUTE - rig.now_ms % MINUTE
    rig.tell("exchange1", 5.0, rig.now_ms + ahead_ms)
    assert asked(rig, interval_ms=MINUTE).candles == []
    rig.clock.advance(ahead_ms)
    found = asked(rig, interval_ms=MINUTE)
    assert (plain(found.candles), found.closed) == ([(rig.now_ms, 5.0, 5.0, 5.0, 5.0, 1)], 0)


def test_an_hour_that_is_not_over_is_the_open_candle_however_many_of_its_minutes_are_stored():
    rig = MinuteRig()
    rig.clock.advance(HOUR - rig.now_ms % HOUR)
    for minute in range(30):
        rig.tell("exchange1", 1.0 + minute)
        rig.clock.advance(MINUTE)
        rig.flush()
    found = asked(rig, interval_ms=HOUR)
    assert (len(found.candles), found.closed, found.candles[0].ticks) == (1, 0, 30)
    assert asked(rig, interval_ms=HOUR, include_open=False).candles == []


def test_an_answer_is_final_when_no_tick_can_come_for_it_any_more():
    rig = MinuteRig()
    end = align(rig.now_ms, MINUTE)
    rig.tell("exchange1", 5.0, end - 1)
    settled_ms = end + 4 * MINUTE + rig.rig.rules.grace_ms
    rig.clock.advance(settled_ms - 1 - rig.now_ms)
    assert not asked(rig, interval_ms=MINUTE, to_ms=end - 30_000).is_final
    rig.clock.advance(1)
    assert asked(rig, interval_ms=MINUTE, to_ms=end - 30_000).is_final
    assert not asked(rig, interval_ms=MINUTE, to_ms=end + 1).is_final
    assert not asked(rig, interval_ms=MINUTE).is_final


def test_what_cannot_be_answered_is_said():
    rig = MinuteRig()
    with pytest.raises(UnknownSymbol):
        rig.candles.ask("nope", None, Wanted(interval_ms=MINUTE))
    with pytest.raises(UnknownExchange):
        rig.candles.ask("BTCUSDT", "nope", Wanted(interval_ms=MINUTE))
    rig.tell("exchange1", 5.0)
    rig.store.down = "away"
    with pytest.raises(StorageUnavailable):
        asked(rig, interval_ms=MINUTE)
    rig.store.down = None
    rig.rig.market.restoring = True
    with pytest.raises(Restoring):
        asked(rig, interval_ms=MINUTE)


def test_modes_never_mix():
    rig = MinuteRig()
    rig.tell("exchange1", 5.0)
    rig.rig.switch(Mode.TEST, 1)
    assert asked(rig, interval_ms=MINUTE).candles == []
