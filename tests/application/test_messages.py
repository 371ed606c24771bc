"""Folding a chunk's ticks into window rows and minutes, against a plain reading."""

from collections import defaultdict
from math import fsum, isclose

from hypothesis import given
from hypothesis import strategies as st

from marketflow.application.pipeline import folding
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.messages import Batch, Heard, Origin
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import Decoded, Ticks, TickText

RULES = MinuteRules(interval_ms=1_000, grace_ms=100, late_intervals=3)
NOW = 1_746_446_400_500
ORIGIN = Origin(Mode.LIVE, "exchange1", 4)
HEARD = Heard(Lane(ORIGIN), 7, NOW, 123, b"one\ntwo\n")
AGES = st.integers(-700, 5_000) | st.sampled_from([0, 1, 500, 501, 1_500, 4_500, 4_501])
COLUMNS = st.lists(
    st.tuples(AGES, st.sampled_from([0.1, 0.3]) | st.floats(1e-6, 1e6)), min_size=1, max_size=20
)


def fold(columns, **decoded):
    ticks = {
        symbol: Ticks([NOW - age for age, _ in ticks], [price for _, price in ticks])
        for symbol, ticks in columns.items()
    }
    return Batch.of(HEARD, Decoded(2, ticks, **decoded), RULES)


def end_of(timestamp_ms):
    return timestamp_ms // 1_000 * 1_000 + 1_000


def on_time(columns):
    return [(NOW - age, price) for age, price in columns if end_of(NOW - age) + 3_000 >= NOW]


@given(st.dictionaries(st.sampled_from(["A", "B"]), COLUMNS, min_size=1))
def test_every_tick_on_time_is_in_one_window_row_and_one_minute(columns):
    batch = fold(columns)
    kept = {symbol: on_time(ticks) for symbol, ticks in columns.items()}
    assert batch.late == sum(map(len, columns.values())) - sum(map(len, kept.values()))
    assert set(batch.parts) == {symbol for symbol, ticks in kept.items() if ticks}
    for symbol, part in batch.parts.items():
        assert part.ticks == len(kept[symbol])
        assert (part.timestamp_ms, part.price) == kept[symbol][-1]
        check_rows(part.rows, kept[symbol])
        minutes = [(end_ms, stats.get(symbol)) for end_ms, stats in batch.minutes.items()]
        check_minutes([minute for minute in minutes if minute[1]], kept[symbol])


@given(COLUMNS)
def test_rows_and_sums_of_ticks_in_order_are_those_that_the_plain_way_makes(columns):
    ordered = sorted((abs(age), price) for age, price in columns)[::-1]
    ticks = Ticks([NOW - age for age, _ in ordered], [price for _, price in ordered])
    times = folding._Times(ticks.timestamps_ms, NOW, RULES)
    rows, plain = folding._rows_in_order(times, ticks.prices), folding._rows(ticks, NOW)
    assert rows == plain
    found, expected = folding._sum_of(rows, ticks), PriceStat.of(ticks)
    assert isclose(found.total, expected.total, rel_tol=1e-15)
    assert found._replace(total=0) == expected._replace(total=0)


def test_the_exchanges_own_text_goes_along_unless_a_tick_was_late():
    text = TickText(b"1", b"2.50")
    for ages, every in (([0], text), ([0, 0], text), ([5_000, 0], Ticks([NOW], [1.0]))):
        ticks = Ticks([NOW - age for age in ages], [1.0] * len(ages))
        batch = Batch.of(HEARD, Decoded(2, {"A": ticks}, texts={"A": text}), RULES)
        assert batch.parts["A"].every == every
    assert fold({"A": [(0, 1.0)]}).parts["A"].every == Ticks([NOW], [1.0])


def check_rows(rows, ticks):
    groups, current = defaultdict(list), 0
    for at, price in ticks:
        current = max(current, min(at, NOW))
        groups[current].append((at, price))
    assert rows.ats == list(groups)
    for (_, count, total, low, low_ms, high, high_ms, first), group in zip(
        zip(*rows, strict=True), groups.values(), strict=True
    ):
        prices = [price for _, price in group]
        assert (count, low, high) == (len(prices), min(prices), max(prices))
        assert low_ms == max(at for at, price in group if price == low)
        assert high_ms == max(at for at, price in group if price == high)
        assert first == prices[0]
        assert isclose(total, fsum(prices), rel_tol=1e-12)


def check_minutes(minutes, ticks):
    groups = defaultdict(list)
    for at, price in ticks:
        groups[end_of(at)].append((at, price))
    assert sorted(end_ms for end_ms, _ in minutes) == sorted(groups)
    for end_ms, stat in minutes:
        prices = [price for _, price in groups[end_ms]]
        assert (stat.ticks, stat.low, stat.high) == (len(prices), min(prices), max(prices))
        assert stat.open_ms == min(at for at, _ in groups[end_ms])
        assert stat.close_ms == max(at for at, _ in groups[end_ms])


def test_a_batch_keeps_what_its_chunk_was_known_by():
    batch = fold({"A": [(0, 1.0)]}, rejects={"json": 2})
    assert (batch.origin, batch.number, batch.lane) == (ORIGIN, 7, HEARD.lane)
    assert (batch.received_ms, batch.received_mono) == (NOW, 123)
    assert (batch.rejects, batch.late, batch.skew_ms) == ({"json": 2}, 0, 0)


def test_the_skew_tells_how_far_refused_timestamps_were_ahead_or_behind():
    assert fold({}, ahead_ms=90_000).skew_ms == 90_000
    assert fold({"A": [(5_000, 1.0), (9_000, 1.0), (0, 1.0)]}).skew_ms == -9_000


def test_a_chunk_without_ticks_is_an_empty_batch():
    batch = fold({}, rejects={"json": 1})
    assert (batch.parts, batch.number) == ({}, 7)


def test_a_failed_chunk_counts_its_lines_and_keeps_its_place():
    batch = Batch.failed(HEARD)
    assert (batch.number, batch.parts, batch.rejects) == (7, {}, {"worker": 2})
    assert batch.lane is HEARD.lane
