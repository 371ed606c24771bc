"""Listening for ever: numbers, the journal before the queue, patience, and few words."""

import threading
from random import Random

from marketflow.application.pipeline.backoff import Backoff
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.listener import Listener
from marketflow.application.pipeline.messages import Origin
from marketflow.application.telemetry import Feed
from marketflow.domain.errors import FeedLost
from marketflow.domain.mode import Mode
from tests.fake_sources import ListSource
from tests.fakes import ManualClock, MemoryJournal

CONNECTED = b""


class Patience(threading.Event):
    """The wait between attempts, in simulated time; closes the listener when time is up."""

    def __init__(self, limit_s):
        super().__init__()
        self.waits = []
        self._limit_s = limit_s

    def wait(self, timeout=None):
        if not self.is_set():
            self.waits.append(timeout)
            if sum(self.waits) >= self._limit_s:
                self.set()
        return self.is_set()


class WatchfulJournal(MemoryJournal):
    """Notes how many chunks were queued when each was appended."""

    def __init__(self):
        super().__init__()
        self.queued = []
        self.inbox = None

    def append(self, record):
        self.queued.append(self.inbox.depth())
        super().append(record)


class Bench:
    def __init__(self, *connections, for_s=0.1):
        self.source = ListSource("exchange1", *connections)
        self.lane = Lane(Origin(Mode.LIVE, "exchange1", 3))
        self.journal, self.inbox = WatchfulJournal(), Channel("inbox", 64)
        self.journal.inbox = self.inbox
        self.clock, self.feed = ManualClock(), Feed("exchange1")
        self.listener = Listener(
            self.source,
            self.lane,
            journal=self.journal,
            inbox=self.inbox,
            clock=self.clock,
            feed=self.feed,
            backoff=Backoff(0.5, 5.0, Random(1)),
        )
        self.patience = self.listener._closed = Patience(for_s)

    def run(self):
        self.listener.run()
        return self.inbox.take(64, 0)

    def tick(self):
        """Do what the collector does when it absorbs a valid tick."""
        self.feed.aggregated += 1


def test_chunks_are_numbered_over_connections_stamped_and_journaled_before_they_are_queued():
    bench = Bench([CONNECTED, b"a\n", b"b\nb\n"], [CONNECTED, b"c\n"], for_s=1)
    now = bench.clock.now()
    heard = bench.run()
    assert [(h.number, h.chunk) for h in heard] == [(0, b"a\n"), (1, b"b\nb\n"), (2, b"c\n")]
    assert {(h.received_ms, h.received_mono) for h in heard} == {(now.wall_ms, now.mono_ms)}
    assert [tuple(record) for record in bench.journal.appended] == [
        (Mode.LIVE, "exchange1", h.number, h.received_ms, h.chunk) for h in heard
    ]
    assert bench.journal.queued == [0, 1, 2]
    assert bench.feed.received == 4
    assert bench.lane.in_flight() == 3
    assert bench.lane.oldest_ms() == now.wall_ms


def test_an_exchange_that_is_away_is_asked_for_ever_with_growing_pauses_and_told_once(caplog):
    bench = Bench(for_s=600)
    bench.run()
    assert 120 <= bench.source.attempts <= 165
    longest = [0.5, 1, 2, 4, *[5] * (len(bench.patience.waits) - 4)]
    for wait, limit in zip(bench.patience.waits, longest, strict=True):
        assert 0.75 * limit <= wait <= limit
    assert caplog.messages == ["source lost, trying again until it answers"]
    assert caplog.records[0].reason == "refused"


def test_an_exchange_that_accepts_and_hangs_up_is_not_stormed():
    bench = Bench(*[[CONNECTED]] * 500, for_s=600)
    bench.run()
    assert bench.source.attempts <= 165


def test_garbage_does_not_make_the_next_attempt_come_sooner():
    bench = Bench(*[[CONNECTED, b"garbage\n"]] * 40, for_s=60)
    bench.run()
    assert bench.patience.waits[-2] >= 3.75


def test_only_a_valid_tick_makes_the_next_attempt_come_soon():
    bench = Bench(for_s=60)
    for _ in range(8):
        bench.source._connections.append([CONNECTED])
    bench.source._connections.append([CONNECTED, bench.tick])
    bench.run()
    assert bench.patience.waits[7] >= 3.75
    assert bench.patience.waits[8] <= 0.5
    assert 0.75 <= bench.patience.waits[9] <= 1.0


def test_one_line_is_logged_for_each_change(caplog):
    caplog.set_level("INFO")
    lost = FeedLost("silent")
    bench = Bench([CONNECTED, b"a\n", lost], [FeedLost("reset")], [CONNECTED, b"b\n"], for_s=9)
    bench.run()
    assert caplog.messages == [
        "source connected",
        "source lost, trying again until it answers",
        "source connected again",
        "source lost, trying again until it answers",
    ]
    assert {record.source for record in caplog.records} == {"exchange1"}
    assert bench.feed.reconnects == 1


def test_the_feed_is_connected_from_the_empty_chunk_on_until_it_is_lost():
    seen = []
    bench = Bench()
    look = lambda: seen.append(bench.feed.connected)  # noqa: E731  a step of the feed
    bench.source._connections.append([look, CONNECTED, look, b"a\n", look])
    bench.run()
    assert seen == [False, True, True]
    assert not bench.feed.connected


def test_any_other_failure_of_a_source_is_survived_and_logged(caplog):
    bench = Bench([CONNECTED, RuntimeError("broken")], [CONNECTED, b"a\n"], for_s=1)
    assert [heard.chunk for heard in bench.run()] == [b"a\n"]
    assert caplog.messages[0] == "source failed"


def test_closing_ends_the_source_and_says_nothing(caplog):
    bench = Bench([CONNECTED, ListSource.WAIT])
    thread = threading.Thread(target=bench.listener.run)
    thread.start()
    bench.listener.close()
    thread.join(5)
    assert not thread.is_alive()
    assert not caplog.records
