"""The whole picture: each fault shows, and so does its end."""

import json

import pytest

from marketflow.application.health import Health
from marketflow.application.pipeline.channel import Channel
from marketflow.domain.mode import Mode
from tests.application.rig import Rig
from tests.fake_sources import EXCHANGES, line


class Bench:
    def __init__(self):
        self.rig = Rig()
        self.threads = (12, 12)
        self.health = Health(
            market=self.rig.market,
            telemetry=self.rig.telemetry,
            flusher=self.rig.flusher,
            journal=self.rig.journal,
            clock=self.rig.clock,
            channels=lambda: [Channel("inbox", 256)],
            threads=lambda: self.threads,
            stale_after_ms=5_000,
            backend="memory",
            version="1.2.3",
        )
        self.feeds = {name: self.rig.feed(name) for name in EXCHANGES}
        for feed in self.rig.telemetry.feeds.values():
            feed.connected = True
        self.tick()

    def tick(self):
        for feed in self.feeds.values():
            chunk = line("BTCUSDT", 1.0, self.rig.clock.now().wall_ms)
            self.rig.receive(feed.hear(chunk))

    def problems(self):
        report = self.health.report()
        assert report["status"] == ("degraded" if report["problems"] else "ok")
        return report["problems"]


@pytest.fixture
def bench():
    return Bench()


def test_all_is_well_when_every_feed_ticks(bench):
    bench.rig.clock.advance(1_500)
    report = json.loads(json.dumps(bench.health.report()))
    assert (report["status"], report["problems"]) == ("ok", [])
    assert (report["mode"], report["version"], report["uptime_s"]) == ("live", "1.2.3", 1.5)
    assert report["feeds"]["exchange1"] == {
        "connected": True,
        "stale": False,
        "last_tick_ms": bench.rig.clock.now().wall_ms - 1_500,
        "ticks_per_s": 0.0,
        "reconnects": 0,
        "rejected": 0,
        "late": 0,
    }
    assert report["channels"] == {"inbox": {"depth": 0, "capacity": 256}}
    assert report["threads"] == {"expected": 12, "alive": 12}
    assert report["storage"]["backend"] == "memory"


def test_a_feed_that_is_away_or_silent_is_named_until_it_ticks_again(bench):
    feed = bench.rig.telemetry.feeds["exchange2"]
    feed.connected = False
    assert bench.problems() == ["exchange2: not connected"]
    feed.connected = True
    bench.rig.clock.advance(5_001)
    assert "exchange2: connected, but no price for 5 s" in bench.problems()
    bench.tick()
    assert bench.problems() == []


def test_refused_timestamps_and_failed_workers_show_for_ten_seconds(bench):
    feed, now_mono = bench.rig.telemetry.feeds["exchange1"], bench.rig.clock.now().mono_ms
    feed.skew_ms, feed.skew_mono, feed.failure_mono = -90_500, now_mono, now_mono
    assert bench.problems() == [
        "exchange1: timestamps are 90.5 s behind our clock and refused",
        "exchange1: a worker failed, its chunk was not counted",
    ]
    feed.skew_ms = 61_000
    assert "exchange1: timestamps are 61 s ahead of our clock and refused" in bench.problems()
    bench.rig.clock.advance(10_000)
    bench.tick()
    assert bench.problems() == []


def test_every_part_of_the_storage_tells_its_own_problem(bench):
    rig = bench.rig
    rig.outbox.down, rig.store.down, rig.journal.problem = "outbox full", "store away", "disk full"
    rig.clock.advance(200_000)
    rig.flush()
    bench.tick()
    assert bench.problems() == ["store away", "outbox full", "disk full"]
    assert bench.health.report()["storage"]["ok"] is False
    assert bench.health.report()["storage"]["outbox_rows"] == 3
    assert bench.health.report()["storage"]["journal_lost_chunks"] == 3
    rig.outbox.down = rig.store.down = rig.journal.problem = None
    rig.flush(now=10.0)
    assert bench.problems() == []


def test_dropped_rows_restarted_threads_and_a_stepped_clock_show(bench):
    telemetry, now_mono = bench.rig.telemetry, bench.rig.clock.now().mono_ms
    telemetry.rows_dropped, telemetry.dropped_mono = 7, now_mono
    telemetry.restart_mono, telemetry.clock_step_ms = now_mono, -2_500
    bench.threads = (12, 11)
    assert bench.problems() == [
        "rows dropped: 7, nothing takes them",
        "threads: one died and was started again",
        "clock: the system's was stepped by -2.5 s, ours was not",
        "threads: 1 of 12 are dead",
    ]


def test_while_restoring_prices_cannot_be_served(bench):
    assert bench.health.ready()
    bench.rig.market.restoring = True
    assert not bench.health.ready()
    report = bench.health.report()
    assert report["status"] == "down"
    assert report["problems"] == ["restoring the last minutes from the journal"]


def test_the_feeds_are_those_of_the_current_mode(bench):
    bench.rig.telemetry._by_mode[Mode.TEST] = ["exchange3"]
    bench.rig.switch(Mode.TEST, 1)
    report = bench.health.report()
    assert (report["mode"], list(report["feeds"])) == ("test", ["exchange3"])
    assert report["problems"] == ["exchange3: not connected"]
