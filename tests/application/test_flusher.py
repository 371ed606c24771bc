"""Rows on their way out: kept through any outage of outbox or store, delivered once it ends."""

import threading
from random import Random

import pytest

from marketflow.application.pipeline import flusher
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.messages import Closing
from marketflow.application.telemetry import Telemetry
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.fakes import ManualClock, MemoryJournal, MemoryMinuteStore, MemoryOutbox

RETENTION_MS = 5 * MINUTE_MS


class WatchedJournal(MemoryJournal):
    """Remembers what was released, and how many rows the outbox and the store held then."""

    def __init__(self, *holders):
        super().__init__()
        self.released = []
        self._holders = holders

    def release(self, before_ms):
        held = [len(holder._rows) for holder in self._holders]
        self.released.append((before_ms, *held))
        super().release(before_ms)


class CountingOutbox(MemoryOutbox):
    """Fails to acknowledge or to read when told to, and counts what it is asked."""

    def __init__(self):
        super().__init__(max_rows=1_000)
        self.acknowledging = self.reading = True
        self.reads = 0
        self.trimmed = []

    def acknowledge(self, rows):
        if not self.acknowledging:
            raise StorageUnavailable("outbox read-only")
        super().acknowledge(rows)

    def oldest(self, limit):
        self.reads += 1
        if not self.reading:
            raise StorageUnavailable("outbox unreadable")
        return super().oldest(limit)

    def trim(self, now_ms):
        self.trimmed.append(now_ms)
        return super().trim(now_ms)


class CountingStore(MemoryMinuteStore):
    """Remembers every transaction and counts the attempts."""

    def __init__(self):
        super().__init__()
        self.attempts, self.written = 0, []

    def upsert(self, rows):
        self.attempts += 1
        refused = super().upsert(rows)
        self.written.append([row.timestamp_ms for row in rows])
        return refused


class Bench:
    def __init__(self):
        self.outbox, self.store = CountingOutbox(), CountingStore()
        self.journal = WatchedJournal(self.outbox, self.store)
        self.clock = ManualClock()
        self.telemetry = Telemetry({Mode.LIVE: [], Mode.TEST: []})
        self.closings = Channel("closings", 64)
        self.flusher = Flusher(
            self.closings,
            outbox=self.outbox,
            store=self.store,
            journal=self.journal,
            retention_ms=RETENTION_MS,
            clock=self.clock,
            telemetry=self.telemetry,
        )

    def flush(self, *rows, now=0.0, watermark_ms=0):
        self.flusher.flush([Closing(list(rows), watermark_ms)], now)

    def stored(self):
        return [row.timestamp_ms for row in self.store._rows.values()]


@pytest.fixture
def bench():
    return Bench()


def rows(count, **changes):
    return [minute_row(timestamp_ms=NOON_MS + i * MINUTE_MS, **changes) for i in range(count)]


def test_rows_go_through_the_outbox_into_the_store_and_leave_nothing_behind(bench):
    bench.flush(*rows(3))
    assert len(bench.stored()) == 3
    assert bench.flusher.waiting_count() == 0
    assert bench.telemetry.rows_stored == 3
    assert bench.flusher.latency_ms is not None


def test_while_the_store_fails_rows_wait_in_the_outbox_and_attempts_back_off(bench, caplog):
    bench.store.down = "away"
    now = 0.0
    for row in rows(60):
        bench.flush(row, now=now)
        now += 0.1
    assert bench.outbox.count() == bench.flusher.waiting_count() == 60
    assert bench.store.attempts <= 8  # 0, .2, .6, 1.4, 3, 5, … seconds, a quarter less at most
    assert bench.flusher.store_state.problem == "away"
    assert bench.telemetry.store_errors == bench.store.attempts
    assert caplog.messages == ["rows wait"]


def test_new_rows_and_a_stop_wait_for_a_piece_of_a_long_backlog_at_most(bench, monkeypatch):
    monkeypatch.setattr(flusher, "_DRAIN_S", 0.0)
    bench.store.down = "away"
    bench.flush(*rows(700))
    bench.store.down = None
    bench.flush(now=1.0)
    assert bench.flusher.store_state.problem is None
    assert bench.outbox.count() == 200
    bench.flush(now=1.0)
    assert bench.outbox.count() == 0


def test_when_the_store_is_back_the_oldest_rows_go_first_at_most_500_at_once(bench, caplog):
    caplog.set_level("INFO")
    bench.store.down = "away"
    shuffled = rows(700)
    Random(1).shuffle(shuffled)
    bench.flush(*shuffled)
    bench.store.down = None
    bench.flush(now=0.1)
    assert bench.stored() == [], "too early to try again"
    bench.flush(now=0.25)
    assert [len(ends) for ends in bench.store.written] == [500, 200]
    assert [end for ends in bench.store.written for end in ends] == sorted(
        row.timestamp_ms for row in shuffled
    )
    assert bench.flusher.waiting_count() == 0
    assert bench.flusher.store_state.problem is None
    assert caplog.messages == ["rows wait", "rows move again"]
    bench.store.down = "away"
    bench.flush(now=1.0)
    bench.store.down = None
    bench.flush(now=1.21)
    assert bench.flusher.store_state.problem is None, "the delay begins small again"


def test_while_the_outbox_fails_rows_stay_in_memory_and_still_reach_the_store(bench, caplog):
    bench.outbox.down = "disk full"
    for second, row in enumerate(rows(5)):
        bench.flush(row, now=float(second))
        bench.flush(now=second + 0.5)
        assert bench.flusher.outbox_state.problem == "disk full", "no row came, nothing healed"
    assert len(bench.stored()) == 5
    assert bench.flusher.waiting_count() == 0
    assert caplog.messages == ["rows wait"]


def test_the_end_of_an_outbox_failure_shows_without_waiting_for_another_row(bench):
    bench.outbox.down = "disk full"
    bench.flush(*rows(2))
    bench.outbox.down = None
    bench.flush(now=1.0)
    assert bench.flusher.outbox_state.problem is None
    assert len(bench.stored()) == 2
    assert bench.flusher.waiting_count() == 0


def test_while_both_fail_everything_waits_in_memory_and_nothing_is_lost(bench):
    bench.outbox.down = bench.store.down = "away"
    bench.flush(*rows(3))
    assert bench.flusher.waiting_count() == 3
    window = (Mode.LIVE, "BTCUSDT", None, 0, 2**60)
    assert len(bench.flusher.waiting(*window)) == 3
    bench.outbox.down = None
    bench.flush(now=0.1)
    assert (bench.outbox.count(), bench.flusher.waiting_count()) == (3, 3)
    assert len(bench.flusher.waiting(*window)) == 3
    bench.store.down = None
    bench.flush(now=5.0)
    assert len(bench.stored()) == 3


def test_the_version_with_more_ticks_stays_whatever_comes_after_it(bench):
    bench.outbox.down = bench.store.down = "away"
    for ticks in (5, 9, 7):
        bench.flush(minute_row(tick_count=ticks))
    bench.outbox.down = bench.store.down = None
    bench.flush(now=5.0)
    (row,) = bench.store.all()
    assert row.tick_count == 9


def test_rows_over_the_bound_of_memory_are_dropped_oldest_first_counted_and_told(bench, caplog):
    bench.outbox.down = bench.store.down = "away"
    bench.flush(*rows(100_003))
    assert bench.flusher.waiting_count() == 100_000
    assert bench.telemetry.rows_dropped == 3
    assert bench.telemetry.dropped_mono == bench.clock.now().mono_ms
    assert "rows dropped" in caplog.messages
    waiting = bench.flusher.waiting(Mode.LIVE, "BTCUSDT", None, 0, NOON_MS + 5 * MINUTE_MS)
    assert min(row.timestamp_ms for row in waiting) == NOON_MS + 3 * MINUTE_MS


def test_a_failed_acknowledgement_is_harmless_and_not_repeated_without_pause(bench, caplog):
    bench.outbox.acknowledging = False
    bench.flush(*rows(2))
    for tenth in range(1, 20):
        bench.flush(now=tenth / 10)
    assert len(bench.stored()) == 2
    assert bench.store.attempts <= 5
    assert bench.flusher.outbox_state.problem == "outbox read-only"
    assert bench.flusher.store_state.problem is None
    bench.outbox.acknowledging = True
    bench.flush(now=10.0)
    assert bench.flusher.waiting_count() == 0
    assert bench.flusher.outbox_state.problem is None
    assert caplog.messages == ["rows wait"]


def test_an_outbox_that_cannot_be_read_is_told_once_and_asked_with_pauses(bench, caplog):
    bench.store.down = "away"
    bench.flush(*rows(2))
    bench.store.down, bench.outbox.reading = None, False
    for tenth in range(10, 30):
        bench.flush(now=tenth / 10)
    assert bench.outbox.reads <= 6
    assert caplog.messages.count("rows wait") == 2, "the store's, the outbox's"
    bench.outbox.reading = True
    bench.flush(now=10.0)
    assert len(bench.stored()) == 2
    assert bench.flusher.outbox_state.problem is None


def test_the_journal_is_released_once_the_outbox_has_the_rows_and_up_to_the_retention(bench):
    bench.store.down = "away"
    bench.flush()
    assert bench.journal.released == [], "there is no watermark yet"
    bench.outbox.down = "disk full"
    bench.flush(*rows(2), watermark_ms=NOON_MS)
    assert bench.journal.released == [], "rows are in memory only"
    bench.outbox.down = None
    bench.flush(now=0.1)
    assert bench.journal.released == [(NOON_MS - RETENTION_MS, 2, 0)]


def test_the_journal_goes_on_being_released_while_only_the_outbox_fails(bench):
    bench.outbox.down = "disk full"
    bench.flush(*rows(2), watermark_ms=NOON_MS)
    bench.flush(now=1.0)
    assert bench.journal.released == [(NOON_MS - RETENTION_MS, 0, 2)], "the store has them"


def test_a_clock_set_back_holds_the_journal_back_too(bench):
    bench.flush(watermark_ms=NOON_MS)
    bench.flush(watermark_ms=NOON_MS - 60 * MINUTE_MS, now=1.0)
    bench.flush(now=2.0)
    last, *_ = bench.journal.released[-1]
    assert last == NOON_MS - 60 * MINUTE_MS - RETENTION_MS


def test_the_outbox_is_trimmed_twice_a_minute_and_what_it_drops_is_told(bench, caplog):
    bench.store.down = "away"
    for second in range(61):
        bench.flush(*(rows(1_005) if second == 3 else []), now=float(second))
    assert len(bench.outbox.trimmed) == 3
    assert bench.telemetry.rows_dropped == 5
    assert "rows dropped" in caplog.messages


def test_the_loop_survives_any_failure_and_flushes_a_last_time_when_closed(bench, caplog):
    def broken(rows):
        raise RuntimeError("broken")

    put, bench.outbox.put = bench.outbox.put, broken
    thread = threading.Thread(target=bench.flusher.run, name="flusher")
    thread.start()
    bench.closings.put(Closing(rows(1), 0))
    for _ in range(500):
        if "flush failed" in caplog.messages:
            break
        threading.Event().wait(0.01)
    bench.outbox.put = put
    bench.closings.put(Closing(rows(3), 0))
    bench.closings.close()
    thread.join(5)
    assert not thread.is_alive()
    assert len(bench.stored()) == 3


def test_the_last_flush_does_not_wait_for_the_next_attempt(bench):
    bench.store.down = "away"
    bench.flush(*rows(2), now=1e12)
    bench.store.down = None
    bench.closings.close()
    bench.flusher.run()
    assert len(bench.stored()) == 2
