import logging
import threading
import tracemalloc
from itertools import pairwise
from time import monotonic

import pytest

from marketflow.application.pipeline import publisher as publisher_module
from marketflow.application.pipeline.messages import Batch, Origin
from marketflow.application.pipeline.offers import Offers
from marketflow.application.pipeline.publisher import Publisher
from marketflow.application.ports import Instant, Series
from marketflow.domain.mode import Mode
from marketflow.domain.tick import TickText
from tests.fakes import ManualClock, MemoryMirror
from tests.tick_ledger import BTC, SYMBOLS, Feed, batch_of, part_of

RETENTION_MS = 300_000
MIB = 1_048_576


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def mirror():
    return MemoryMirror()


def publisher_of(mirror, clock, **changes):
    settings = {"flush_interval_ms": 100, "retention_ms": RETENTION_MS, "max_bytes": 64 * MIB}
    return Publisher(mirror, clock=clock, **(settings | changes))


@pytest.fixture
def publisher(mirror, clock):
    return publisher_of(mirror, clock)


@pytest.fixture
def feed(publisher):
    return Feed(publisher)


def mirrored(mirror, feed):
    return {series: mirror.ticks(series) for series in feed.ledger}


def offer_and_flush(publisher, feed, clock, times, *, every_ms=100):
    for _ in range(times):
        now = clock.advance(every_ms)
        feed.offer(now.wall_ms)
        publisher.flush(now)


def wait_out_backoff(publisher, clock):
    publisher.flush(clock.advance(3_000))


def test_every_tick_is_mirrored_in_order(publisher, mirror, feed, clock):
    offer_and_flush(publisher, feed, clock, 20)
    assert mirrored(mirror, feed) == feed.ledger
    assert mirror.latest == feed.latest
    assert (publisher.problem, publisher.dropped, publisher.errors) == (None, 0, 0)


def test_a_flush_makes_one_entry_per_series_whatever_came_between(publisher, mirror, clock):
    for n in range(3):
        origin = Origin(Mode.LIVE, "exchange1", intake=n)
        publisher.offer(batch_of({"BTCUSDT": [(n + 1, float(n + 1))]}, origin=origin))
    now = clock.advance(100)
    publisher.flush(now)
    assert mirror.ids(BTC) == [now.wall_ms]
    assert mirror.ticks(BTC) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_modes_are_mirrored_apart(publisher, mirror, clock):
    for mode in Mode:
        origin = Origin(mode, "exchange1", 0)
        publisher.offer(batch_of({"BTCUSDT": [(1, float(len(mode.name)))]}, origin=origin))
    publisher.flush(clock.advance(100))
    assert mirror.ticks(BTC) == mirror.ticks(BTC._replace(mode=Mode.TEST)) == [(1, 4.0)]


def test_two_flushes_within_a_millisecond_get_growing_ids(publisher, mirror, clock):
    now = clock.now()
    for n in range(3):
        publisher.offer(batch_of({"BTCUSDT": [(n + 1, 1.0)]}))
        publisher.flush(now)
    assert mirror.ids(BTC) == [now.wall_ms, now.wall_ms + 1, now.wall_ms + 2]


@pytest.mark.parametrize("step_ms", [-3_600_000, -1, 3_600_000])
def test_a_stepped_wall_clock_neither_turns_ids_back_nor_costs_recent_ticks(
    publisher, mirror, clock, step_ms
):
    flushes = 2 * RETENTION_MS // 1_000
    for n in range(flushes):
        if n == flushes - 100:
            now = clock.now()
            stepped = ManualClock(mono_ms=now.mono_ms, wall_ms=now.wall_ms + step_ms)
            clock = stepped
        publisher.offer(batch_of({"BTCUSDT": [(n + 1, 1.0)]}))
        publisher.flush(clock.advance(1_000))
    ids = mirror.ids(BTC)
    assert all(earlier < later for earlier, later in pairwise(ids))
    kept = RETENTION_MS // 1_000 + 1
    assert [at for at, _ in mirror.ticks(BTC)] == list(range(flushes - kept + 1, flushes + 1))


def test_what_an_earlier_process_left_is_trimmed_by_its_age(mirror, clock):
    earlier = publisher_of(mirror, clock)
    earlier.offer(batch_of({"BTCUSDT": [(1, 1.0)]}))
    earlier.flush(clock.advance(100))
    publisher = publisher_of(mirror, clock)
    for at in (2, 3, 4):
        publisher.offer(batch_of({"BTCUSDT": [(at, 1.0)]}))
        publisher.flush(clock.advance(RETENTION_MS // 3))
    assert [at for at, _ in mirror.ticks(BTC)] == [1, 2, 3, 4]
    publisher.offer(batch_of({"BTCUSDT": [(5, 1.0)]}))
    publisher.flush(clock.advance(100))
    assert [at for at, _ in mirror.ticks(BTC)] == [2, 3, 4, 5]


def test_ids_go_on_above_those_of_an_earlier_process_whose_clock_was_ahead(mirror, clock):
    ahead = ManualClock(wall_ms=clock.now().wall_ms + 3_600_000)
    earlier = publisher_of(mirror, ahead)
    for exchange in ("exchange1", "exchange2"):
        earlier.offer(
            batch_of({"BTCUSDT": [(1, 1.0)]}, origin=Origin(Mode.LIVE, exchange, 0)),
        )
        earlier.flush(ahead.advance(100))
    publisher = publisher_of(mirror, clock)
    for n, exchange in enumerate(("exchange1", "exchange2"), start=2):  # known one by one
        publisher.offer(
            batch_of({"BTCUSDT": [(n, 1.0)]}, origin=Origin(Mode.LIVE, exchange, 0)),
        )
        publisher.flush(clock.advance(100))
    assert mirror.ticks(BTC) == [(1, 1.0), (2, 1.0)]
    assert mirror.ticks(Series(Mode.LIVE, "exchange2", "BTCUSDT")) == [(1, 1.0), (3, 1.0)]


def test_what_a_mirror_missed_is_sent_when_it_is_back(publisher, mirror, feed, clock):
    offer_and_flush(publisher, feed, clock, 5)
    before = mirrored(mirror, feed)
    mirror.down = "it hangs"
    offer_and_flush(publisher, feed, clock, 50)
    assert publisher.problem == "it hangs"
    assert mirrored(mirror, feed) == before
    mirror.down = None
    offer_and_flush(publisher, feed, clock, 1, every_ms=3_000)
    assert mirrored(mirror, feed) == feed.ledger
    assert (publisher.problem, publisher.dropped) == (None, 0)


def test_a_mirror_that_is_down_at_start_misses_nothing(publisher, mirror, feed, clock):
    mirror.down = "connection refused"
    publisher.flush(clock.advance(100))
    assert publisher.problem == "connection refused"
    offer_and_flush(publisher, feed, clock, 10)
    mirror.down = None
    wait_out_backoff(publisher, clock)
    assert mirrored(mirror, feed) == feed.ledger


def test_nothing_is_doubled_when_the_answer_is_lost(publisher, mirror, feed, clock):
    for n in range(20):
        mirror.answer_lost = n % 3 == 0
        offer_and_flush(publisher, feed, clock, 1, every_ms=700)
    wait_out_backoff(publisher, clock)
    assert mirrored(mirror, feed) == feed.ledger
    assert publisher.errors == 7


def test_a_mirror_that_comes_back_empty_gets_everything_again(publisher, mirror, feed, clock):
    offer_and_flush(publisher, feed, clock, 30)
    mirror.down = "killed"
    offer_and_flush(publisher, feed, clock, 5)
    mirror.down = None
    mirror.forget()
    wait_out_backoff(publisher, clock)
    assert mirrored(mirror, feed) == feed.ledger
    assert mirror.latest == feed.latest


def test_catching_up_is_done_in_pieces_oldest_first(publisher, mirror, feed, clock):
    mirror.down = "away"
    offer_and_flush(publisher, feed, clock, 200)
    mirror.down = None
    sent = []

    def note(entries, keep_from_ms):
        sent.append([(entry.id_ms, len(entry.ticks.prices) + 300) for entry in entries])
        MemoryMirror.send(mirror, entries, keep_from_ms)

    mirror.send = note
    while publisher.problem or mirrored(mirror, feed) != feed.ledger:
        wait_out_backoff(publisher, clock)
    assert len(sent) > 2
    assert all(sum(size for _, size in entries) < 300_000 for entries in sent)
    ids = [id_ms for entries in sent for id_ms, _ in entries]
    assert ids == sorted(ids)


def test_attempts_become_rare_while_the_mirror_is_away(publisher, mirror, clock):
    mirror.down = "away"
    for _ in range(600):
        publisher.flush(clock.advance(100))
    assert 30 <= publisher.errors <= 60
    mirror.down = None
    wait_out_backoff(publisher, clock)
    mirror.down = "away again"
    before = publisher.errors
    for _ in range(15):
        publisher.flush(clock.advance(100))
    assert publisher.errors - before >= 2


def test_one_line_is_logged_per_change_of_state(publisher, mirror, feed, clock, caplog):
    caplog.set_level(logging.INFO)
    mirror.down = "refused"
    offer_and_flush(publisher, feed, clock, 100)
    mirror.down = None
    wait_out_backoff(publisher, clock)
    offer_and_flush(publisher, feed, clock, 100)
    down, up = caplog.records
    assert (down.levelname, down.msg, down.reason) == (
        "WARNING",
        "ticks are not mirrored",
        "refused",
    )
    assert (up.levelname, up.msg, up.for_s, up.dropped) == (
        "INFO",
        "ticks are mirrored again",
        12.9,
        0,
    )


def test_a_silent_feed_does_not_hide_that_the_mirror_is_away(publisher, mirror, clock):
    for _ in range(50):
        publisher.flush(clock.advance(100))
    assert mirror.pings == 5
    assert publisher.latency_ms is not None
    mirror.down = "away"
    for _ in range(10):
        publisher.flush(clock.advance(100))
    assert publisher.problem == "away"


def test_a_mirror_that_can_only_be_read_is_not_taken_for_well(publisher, mirror, feed, clock):
    offer_and_flush(publisher, feed, clock, 3)

    def refuse():
        mirror.down = "read only"
        try:
            MemoryMirror.ping(mirror)
        finally:
            mirror.down = None

    mirror.ping = refuse
    for _ in range(5):
        wait_out_backoff(publisher, clock)
        assert publisher.problem == "read only"


def test_what_is_older_than_the_retention_is_dropped_and_counted(publisher, mirror, feed, clock):
    mirror.down = "away"
    offer_and_flush(publisher, feed, clock, 10)
    early = sum(map(len, feed.ledger.values()))
    publisher.flush(clock.advance(RETENTION_MS + 1))
    assert publisher.dropped == early
    assert publisher.kept_bytes == 0


def test_what_is_too_much_is_dropped_oldest_first_and_counted(mirror, clock):
    publisher = publisher_of(mirror, clock, max_bytes=100_000)
    feed = Feed(publisher)
    mirror.down = "away"
    for _ in range(300):
        offer_and_flush(publisher, feed, clock, 1)
        assert publisher.kept_bytes <= 100_000
    mirror.down = None
    wait_out_backoff(publisher, clock)
    kept = mirrored(mirror, feed)
    for series, ticks in feed.ledger.items():
        assert kept[series] == ticks[len(ticks) - len(kept[series]) :]
    lost = sum(map(len, feed.ledger.values())) - sum(map(len, kept.values()))
    assert publisher.dropped == lost > 0


def test_ticks_the_mirror_has_had_are_not_counted_as_dropped(mirror, clock):
    publisher = publisher_of(mirror, clock, max_bytes=100_000)
    feed = Feed(publisher)
    offer_and_flush(publisher, feed, clock, 300)
    assert publisher.dropped == 0
    assert publisher.kept_bytes <= 100_000
    assert mirrored(mirror, feed) == feed.ledger


def test_offers_nobody_takes_are_bounded_and_the_oldest_are_dropped(mirror, clock):
    publisher = publisher_of(mirror, clock, max_bytes=100_000)
    for n in range(1, 1_001):
        publisher.offer(batch_of({"BTCUSDT": [(n, 1.0)]}))
        assert publisher.kept_bytes <= 100_000
    assert publisher.dropped > 700
    publisher.flush(clock.advance(100))
    assert [at for at, _ in mirror.ticks(BTC)] == list(range(publisher.dropped + 1, 1_001))


OTHERS_BYTES = 65_536  # what the rest of the process may allocate meanwhile


@pytest.mark.parametrize("ticks", [1, 50])
def test_memory_is_not_counted_for_less_than_it_is(mirror, clock, ticks):
    publisher = publisher_of(mirror, clock)
    mirror.down = "away"

    def offer():
        at = clock.now().wall_ms
        publisher.offer(
            batch_of({s: [(at + i, (at + i) / 8192) for i in range(ticks)] for s in SYMBOLS})
        )

    offer()
    publisher.flush(clock.advance(100))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        counted = publisher.kept_bytes
        for _ in range(250):
            offer()
        offered, _ = tracemalloc.get_traced_memory()
        assert offered - before <= publisher.kept_bytes - counted + OTHERS_BYTES
        publisher.flush(clock.advance(100))
        before, _ = tracemalloc.get_traced_memory()
        counted = publisher.kept_bytes
        for _ in range(250):
            offer()
            publisher.flush(clock.advance(100))
        encoded, _ = tracemalloc.get_traced_memory()
        assert encoded - before <= publisher.kept_bytes - counted + OTHERS_BYTES
    finally:
        tracemalloc.stop()


def test_an_offer_waits_for_nothing_while_the_mirror_hangs(mirror, clock):
    publisher = publisher_of(mirror, clock, flush_interval_ms=1)
    hanging, released = threading.Event(), threading.Event()

    def hang():
        hanging.set()
        assert released.wait(10)

    mirror.ping = hang
    thread = threading.Thread(target=publisher.run)
    thread.start()
    try:
        assert hanging.wait(10)
        for n in range(1, 101):
            publisher.offer(batch_of({"BTCUSDT": [(n, 1.0)]}))
        assert mirror.ticks(BTC) == []
    finally:
        released.set()
        publisher.close()
        thread.join(10)
    assert not thread.is_alive()
    assert [at for at, _ in mirror.ticks(BTC)] == list(range(1, 101))


def test_a_mirror_that_keeps_taking_sets_the_pace_and_misses_nothing(mirror, clock, monkeypatch):
    # a busy machine must not make it look stuck
    monkeypatch.setattr(publisher_module, "_PATIENCE_S", 10.0)
    monkeypatch.setattr(publisher_module, "_STUCK_S", 10.0)
    publisher = publisher_of(mirror, clock, flush_interval_ms=1, max_bytes=100_000)
    feed = Feed(publisher)
    publisher.flush(clock.advance(1_000))
    thread = threading.Thread(target=publisher.run)
    thread.start()
    try:
        for _ in range(500):
            feed.offer(clock.advance(1).wall_ms)
    finally:
        publisher.close()
        thread.join(10)
    assert not thread.is_alive()
    assert publisher.dropped == 0
    assert mirrored(mirror, feed) == feed.ledger


@pytest.mark.parametrize("down", [None, "away"])
def test_nobody_waits_for_a_mirror_that_is_away_or_stuck(mirror, clock, down):
    publisher = publisher_of(mirror, clock, max_bytes=100_000)
    mirror.down = down
    publisher.flush(clock.advance(1_000))
    publisher._moved_at = monotonic() + 3_600 if down else monotonic() - 0.25
    publisher._took.wait = lambda _: pytest.fail("somebody waited")
    for n in range(1, 1_001):
        publisher.offer(batch_of({"BTCUSDT": [(n, 1.0)]}))
    assert publisher.dropped > 700


def test_an_offer_waits_for_at_most_a_moment(mirror, clock):
    publisher = publisher_of(mirror, clock, max_bytes=10_000)
    publisher._moved_at = monotonic() + 3_600  # as if it moved all the time
    waits = []
    publisher._took.wait = lambda seconds: waits.append(seconds) or threading.Event().wait(seconds)
    for n in range(1, 10):
        publisher.offer(batch_of({"BTCUSDT": [(n, 1.0)]}))
    assert 0 < sum(waits) <= 2 * 0.05 + 0.01


def test_what_a_mirror_is_too_slow_for_is_left_where_it_is_felt(mirror, clock, monkeypatch):
    publisher = publisher_of(mirror, clock, max_bytes=100_000)
    feed = Feed(publisher)
    mirror.down = "away"
    while publisher._backlog.waiting_bytes < 80_000:
        offer_and_flush(publisher, feed, clock, 1)
    mirror.down = None
    monkeypatch.setattr(publisher_module, "_SEND_BYTES", 2_000)
    publisher._catch_up_s = 0  # one piece each time, and more than that comes meanwhile
    wait_out_backoff(publisher, clock)
    while publisher._backlog.waiting_bytes > 50_000:
        offer_and_flush(publisher, feed, clock, 1)
        assert publisher._offers.size_bytes() > 0
    while publisher.kept_bytes > 0 and mirrored(mirror, feed) != feed.ledger:
        publisher.flush(clock.advance(100))
    assert publisher.dropped == 0


def test_the_exchanges_own_text_is_mirrored_and_costs_no_more_memory_than_is_told(mirror, clock):
    publisher = publisher_of(mirror, clock)
    origin = Origin(Mode.LIVE, "exchange1", 0)
    for n in (1, 3):
        text = TickText(b"%d,%d" % (n, n + 1), b"5.00,7")
        publisher.offer(Batch(origin, n, 0, 0, {"BTCUSDT": part_of(2, text)}))
    publisher.offer(batch_of({"BTCUSDT": [(5, 0.1)]}))
    assert publisher.kept_bytes >= 2 * len(b"1,25.00,7")
    publisher.flush(clock.advance(100))
    assert mirror.ticks(BTC) == [(1, 5.0), (2, 7.0), (3, 5.0), (4, 7.0), (5, 0.1)]
    assert mirror.latest[Mode.LIVE, "BTCUSDT"] == {"exchange1": (5, 0.1)}


@pytest.mark.parametrize("names", [SYMBOLS[:3], SYMBOLS[1:4]])
def test_turns_of_the_same_and_of_other_pairs_are_mirrored_in_order(mirror, clock, names):
    publisher, ledger = publisher_of(mirror, clock), {}
    for at, symbols in enumerate([SYMBOLS[:3]] * 3 + [names] * 2 + [SYMBOLS[2:]], 1):
        counts = (2, 1, 1) if at == 2 else (1, 1, 1)  # one goes by pair
        ticks = {
            symbol: [(at, at + i / 4) for i in range(count)]
            for symbol, count in zip(symbols, counts, strict=True)
        }
        publisher.offer(batch_of(ticks))
        for symbol, pairs in ticks.items():
            ledger.setdefault(Series(Mode.LIVE, "exchange1", symbol), []).extend(pairs)
    publisher.flush(clock.advance(100))
    assert {series: mirror.ticks(series) for series in ledger} == ledger


def test_closing_flushes_what_is_left_even_between_attempts(publisher, mirror, feed, clock):
    mirror.down = "away"
    offer_and_flush(publisher, feed, clock, 5)
    mirror.down = None
    publisher.close()
    publisher.run()
    assert mirrored(mirror, feed) == feed.ledger
    assert mirror.closed


def test_the_loop_survives_what_nobody_expected(publisher, mirror, feed, clock, caplog):
    feed.offer(clock.now().wall_ms)
    mirror.ping = mirror.last_ids = None
    publisher._step()
    assert "TypeError" in publisher.problem
    assert [record.msg for record in caplog.records if record.levelname == "ERROR"] == [
        "flush to the mirror failed"
    ]
    del mirror.ping, mirror.last_ids
    wait_out_backoff(publisher, clock)
    assert mirrored(mirror, feed) == feed.ledger
    assert publisher.problem is None


def times_of(pieces):
    for piece in pieces:
        text = piece if isinstance(piece, TickText) else TickText.of(piece)
        yield from map(int, text.timestamps_ms.split(b","))


def test_one_thread_may_offer_while_another_takes():
    offers = Offers(MIB)
    taken, done = [], threading.Event()

    def take():
        while not done.is_set():
            taken.extend(times_of(offers.take().get(BTC, ())))

    thread = threading.Thread(target=take)
    thread.start()
    for n in range(1, 20_001):
        offers.add(batch_of({"BTCUSDT": [(2 * n + i, 1.0) for i in range(1 + n % 2)]}))
    done.set()
    thread.join()
    taken.extend(times_of(offers.take().get(BTC, ())))
    assert taken == sorted(set(taken))
    assert len(taken) + offers.dropped == 30_000
    assert offers.size_bytes() == 0


def test_the_time_of_a_flush_is_the_callers(publisher, mirror):
    publisher.offer(batch_of({"BTCUSDT": [(1, 1.0)]}))
    publisher.flush(Instant(mono_ms=5, wall_ms=77))
    assert mirror.ids(BTC) == [77]
