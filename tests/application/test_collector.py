"""The one writer: order within a source, minutes against the ledger, resets, a full flusher."""

import threading
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.application.pipeline.messages import Reset
from marketflow.application.pipeline.workers import Workers
from marketflow.domain.errors import NoPrices
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tests.application.ledger import Ledger, check_rows
from tests.application.rig import Rig
from tests.fake_sources import EXCHANGES, SYMBOLS, line

RULES = MinuteRules(interval_ms=2_000, grace_ms=300, late_intervals=3)
PRICES = st.sampled_from([0.1, 0.3]) | st.floats(1e-6, 1e6)
TICKS = st.tuples(
    st.sampled_from(SYMBOLS),
    PRICES,
    st.integers(-500, 2_500) | st.sampled_from([0, 1, 2_000, 6_000, 7_999, 8_001, 9_000]),
)
CHUNKS = st.tuples(
    st.integers(0, 900) | st.sampled_from([0, 10_000]),
    st.sampled_from(EXCHANGES[:2]),
    st.lists(TICKS, min_size=1, max_size=5),
)


class Minutes:
    """A rig with short minutes beside a ledger."""

    def __init__(self, **options):
        self.rig = Rig(rules=RULES, span_ms=5_000, **options)
        self.ledger = Ledger(interval_ms=2_000, late_intervals=3)
        self.feeds = {name: self.rig.feed(name) for name in EXCHANGES}

    def hear(self, ticks, *, exchange="exchange1", feed=None, mode=Mode.LIVE):
        """Send (symbol, price, timestamp) *ticks* in one chunk; the batch it became."""
        now = self.rig.clock.now()
        for tick in ticks:
            self.ledger.add(
                *(mode, exchange, *tick), received_ms=now.wall_ms, received_mono=now.mono_ms
            )
        return (feed or self.feeds[exchange]).hear(b"".join(line(*tick) for tick in ticks))

    def end(self):
        """Stop the service and compare what is stored."""
        self.rig.finish()
        check_rows(self.rig.store.all(), self.ledger.minutes)


def price_of(rig, exchange=None):
    return rig.prices.latest("BTCUSDT", exchange).price


@settings(max_examples=80, deadline=None)
@given(st.lists(CHUNKS, min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_stored_minutes_equal_the_ledger_through_boundaries_disorder_and_lateness(chunks, rng):
    market, waiting = Minutes(), []
    for gap_ms, exchange, ticks in chunks:
        now = market.rig.clock.advance(gap_ms)
        placed = [(symbol, price, now.wall_ms - age) for symbol, price, age in ticks]
        waiting.append(market.hear(placed, exchange=exchange))
        if rng.random() < 0.3:
            rng.shuffle(waiting)
            market.rig.receive(*waiting)
            waiting.clear()
            market.rig.flush()
    market.rig.receive(*waiting)
    market.end()
    late = sum(feed.late for feed in market.rig.telemetry.feeds.values())
    assert late == market.ledger.late


@settings(max_examples=80, deadline=None)
@given(st.lists(CHUNKS, min_size=1, max_size=25), st.booleans())
def test_turns_lead_to_what_their_ticks_by_pair_lead_to(chunks, restored):
    found = [lead_to(chunks, by_pair, restored=restored) for by_pair in (False, True)]
    assert found[0] == found[1]


def lead_to(chunks, by_pair, *, restored):
    """Return all that is known after *chunks*: windows, newest ticks, counts and rows."""
    rig = Rig(rules=RULES, span_ms=5_000)

    def decode(chunk, received_ms):
        decoded = rig.decode(chunk, received_ms)
        return decoded.by_pair() if by_pair else decoded

    feeds = {name: rig.feed(name, decode=decode) for name in EXCHANGES}
    for gap_ms, exchange, ticks in chunks:
        now = rig.clock.advance(gap_ms)
        lines = [line(symbol, price, now.wall_ms - age) for symbol, price, age in ticks]
        batch = feeds[exchange].hear(b"".join(lines))
        if restored:
            rig.collector.restore(batch, now.wall_ms - 3_000)
        else:
            rig.receive(batch)
    now = rig.clock.now()
    windows = [
        (window.latest, [answers(window, now.mono_ms - age) for age in (0, 1, 700, 5_000)])
        for pair in rig.market.state.pairs.values()
        for window in pair.windows.values()
    ]
    newest = [pair.newest for pair in rig.market.state.pairs.values()]
    counts = [
        (feed.aggregated, feed.late, feed.rejects, sum(feed.latency.counts))
        for feed in rig.telemetry.feeds.values()
    ]
    rows = [
        replace(row, average_price=pytest.approx(row.average_price, rel=1e-12))
        for symbol in SYMBOLS
        for row in rig.collector.minutes(Mode.LIVE, symbol, None, 0, now.wall_ms + 10_000)
    ]
    return windows, newest, counts, rig.telemetry.replayed, rows


def answers(window, since):
    mean = window.mean(since)
    return (
        mean and mean._replace(total=pytest.approx(mean.total, rel=1e-12)),
        window.extreme(since, highest=True),
        window.extreme(since, highest=False),
        window.opening(since),
    )


def test_the_tick_on_the_boundary_opens_the_new_minute():
    market = Minutes()
    start_ms = market.rig.clock.now().wall_ms // 2_000 * 2_000
    ticks = [("BTCUSDT", price, start_ms + at) for price, at in ((1.0, 1_999), (2.0, 2_000))]
    market.rig.clock.advance(2_100)
    market.rig.receive(market.hear(ticks))
    market.rig.finish()
    first, second = market.rig.store.all()
    assert (first.timestamp_ms, first.close_price) == (start_ms + 2_000, 1.0)
    assert (second.timestamp_ms, second.open_price) == (start_ms + 4_000, 2.0)


def test_a_late_tick_sends_its_row_again_whole_and_a_too_late_one_is_counted_and_dropped():
    market = Minutes()
    rig, start_ms = market.rig, market.rig.clock.now().wall_ms // 2_000 * 2_000
    rig.receive(market.hear([("BTCUSDT", 1.0, start_ms)]))
    rig.clock.advance(start_ms + 2_299 - rig.clock.now().wall_ms)
    assert rig.flush() == []
    rig.clock.advance(100)
    assert [row.tick_count for row in rig.flush()] == [1]
    rig.clock.advance(100)
    assert rig.flush() == []
    rig.clock.advance(start_ms + 8_000 - rig.clock.now().wall_ms)
    rig.receive(market.hear([("BTCUSDT", 3.0, start_ms + 1)]))
    (row,) = rig.flush()
    assert (row.tick_count, row.average_price, row.close_price) == (2, 2.0, 3.0)
    rig.clock.advance(1)
    rig.receive(market.hear([("BTCUSDT", 9.0, start_ms + 2), ("DOGEUSDT", 9.0, start_ms + 2_000)]))
    assert rig.telemetry.feeds["exchange1"].late == 1
    rig.clock.advance(100)
    assert [row.pair_name for row in rig.flush()] == ["DOGEUSDT"]
    market.end()


def test_a_minute_of_one_constant_price_is_stored_with_exactly_that_average():
    market = Minutes()
    for _ in range(100):
        at_ms = market.rig.clock.advance(17).wall_ms
        market.rig.receive(market.hear([("BTCUSDT", 0.1, at_ms)] * 3))
    market.rig.finish()
    assert {row.average_price for row in market.rig.store.all()} == {0.1}


def test_a_batch_waits_for_those_before_it_and_other_sources_do_not():
    market = Minutes()
    now_ms = market.rig.clock.now().wall_ms
    batches = [market.hear([("BTCUSDT", float(i), now_ms)]) for i in (1, 2, 3)]
    market.rig.receive(batches[2], batches[1])
    with pytest.raises(NoPrices):
        price_of(market.rig)
    market.rig.receive(market.hear([("BTCUSDT", 9.0, now_ms)], exchange="exchange2"))
    assert price_of(market.rig) == 9.0
    market.rig.receive(batches[0])
    assert price_of(market.rig, "exchange1") == 3.0
    assert market.feeds["exchange1"].lane.in_flight() == 0


def test_a_batch_that_cannot_be_absorbed_does_not_hold_up_those_after_it(caplog):
    market = Minutes()
    now_ms = market.rig.clock.now().wall_ms
    batches = [market.hear([("BTCUSDT", float(i), now_ms)]) for i in range(1, 5)]
    (turn,) = batches[0].turns
    batches[0].turns.append(turn._replace(symbols=("NOSUCH",)))
    for batch in (batches[1], batches[2], batches[0], batches[3]):
        market.rig.collector_channel.put(batch)
    market.rig.collector_channel.close()
    market.rig.collector.run()
    told = [record.message for record in caplog.records]
    assert told == ["batch could not be absorbed", "lines rejected"]
    counted = market.rig.telemetry.feeds["exchange1"]
    assert (counted.rejects, counted.aggregated) == ({"collector": 2}, 3)
    assert price_of(market.rig) == 4.0
    assert market.feeds["exchange1"].lane.in_flight() == 0


def test_after_a_reset_nothing_mixes_and_the_minutes_go_on():
    market = Minutes()
    rig, now_ms = market.rig, market.rig.clock.now().wall_ms
    rig.receive(market.hear([("BTCUSDT", 1.0, now_ms)]))
    rig.switch(Mode.TEST, 1)
    with pytest.raises(NoPrices):
        price_of(rig)
    test_feed = rig.feed("exchange1", mode=Mode.TEST, intake=1)
    rig.receive(market.hear([("BTCUSDT", 2.0, now_ms)], feed=test_feed, mode=Mode.TEST))
    assert price_of(rig) == 2.0
    rig.switch(Mode.LIVE, 2)
    with pytest.raises(NoPrices):
        price_of(rig)
    live_feed = rig.feed("exchange1", intake=2)
    rig.receive(market.hear([("BTCUSDT", 3.0, now_ms)], feed=live_feed))
    assert price_of(rig) == 3.0
    market.end()
    assert sorted((row.mode, row.tick_count) for row in rig.store.all()) == [
        (Mode.LIVE, 2),
        (Mode.TEST, 1),
    ]


@pytest.mark.parametrize("before", [(), (0,), (0, 2), (1, 2), (2,)])
def test_stragglers_of_an_old_intake_feed_their_minutes_and_nothing_else(before):
    market = Minutes()
    rig, now_ms = market.rig, market.rig.clock.now().wall_ms
    batches = [market.hear([("BTCUSDT", float(i), now_ms)]) for i in (1, 2, 3)]
    rig.receive(*(batches[i] for i in before))
    rig.switch(Mode.LIVE, 1)
    feed = rig.feed("exchange1", intake=1)
    rig.receive(market.hear([("BTCUSDT", 7.0, now_ms)], feed=feed))
    rig.receive(*(batches[i] for i in (2, 1, 0) if i not in before))
    assert price_of(rig) == 7.0
    assert rig.prices.latest("BTCUSDT").exchange == "exchange1"
    assert market.feeds["exchange1"].lane.in_flight() == 0
    rig.finish()
    (row,) = rig.store.all()
    assert (row.tick_count, row.min_price, row.max_price) == (4, 1.0, 7.0)


def test_rows_that_find_no_room_are_sent_later_and_meanwhile_prices_go_on():
    market = Minutes()
    rig = market.rig
    while rig.closings.put(None, timeout=0):
        pass
    rig.receive(market.hear([("BTCUSDT", 1.0, rig.clock.now().wall_ms)]))
    for _ in range(3):
        rig.clock.advance(5_000)
        rig.collector.close_minutes(rig.clock.now())
    assert price_of(rig) == 1.0
    rig.closings.take(64, 0)
    rig.clock.advance(5_000)
    assert [row.max_price for row in rig.flush()] == [1.0]
    assert len(rig.store.all()) == 1


def test_the_watermark_that_lets_the_journal_go_never_runs_ahead_of_the_rows():
    market = Minutes()
    rig, rng = market.rig, Random(2)
    told, waiting = {}, []
    for _ in range(400):
        now = rig.clock.advance(rng.randint(1, 120))
        waiting.append(market.hear([("BTCUSDT", 1.0, now.wall_ms)]))
        if rng.random() < 0.2:
            rng.shuffle(waiting)
            rig.receive(*waiting)
            waiting.clear()
        rig.collector.close_minutes(rig.clock.now())
        for closing in rig.closings.take(64, 0):
            told.update((row.key, row.tick_count) for row in closing.rows)
            for key, ticks in market.ledger.minutes.items():
                if key.end_ms + RULES.grace_ms <= closing.watermark_ms:
                    heard = [sent for sent in ticks if sent.received_ms < closing.watermark_ms]
                    assert told[key] >= len(heard)


def test_the_loop_hands_out_the_open_minutes_when_its_channel_is_closed():
    market = Minutes()
    thread = threading.Thread(target=market.rig.collector.run, name="collector")
    thread.start()
    batch = market.hear([("BTCUSDT", 1.0, market.rig.clock.now().wall_ms)])
    market.rig.collector_channel.put(batch)
    reset = Reset(market.rig.new_state(Mode.TEST, 1))
    market.rig.collector_channel.put(reset)
    assert reset.done.wait(5)
    market.rig.collector_channel.close()
    thread.join(5)
    assert not thread.is_alive()
    rows = [row for closing in market.rig.closings.take(64, 0) for row in closing.rows]
    assert [row.mode for row in rows] == [Mode.LIVE]


def test_a_failed_worker_leaves_one_empty_batch_that_counts_its_lines():
    market = Minutes()
    rig, now_ms = market.rig, market.rig.clock.now().wall_ms

    def broken(chunk, received_ms):
        raise RuntimeError("broken")

    feed = rig.feed("exchange1", decode=broken)
    assert isinstance(feed.workers, Workers)
    failed = feed.hear(line("BTCUSDT", 1.0, now_ms) * 3)
    rig.receive(failed)
    counters = rig.telemetry.feeds["exchange1"]
    assert (counters.rejects, counters.aggregated, counters.in_flight()) == ({"worker": 3}, 0, 0)
    assert counters.failure_mono == rig.clock.now().mono_ms
    assert feed.lane.in_flight() == 0
