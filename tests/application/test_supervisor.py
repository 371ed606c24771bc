"""The look every half second."""

import threading
from types import SimpleNamespace

from marketflow.application.pipeline.loop import Loop
from marketflow.application.supervisor import Supervisor
from marketflow.application.telemetry import Telemetry
from marketflow.domain.mode import Mode
from tests.fakes import ManualClock


class SteppedClock(ManualClock):
    """Says that the system's clock is *ahead_ms* ahead."""

    ahead_ms = 0

    def follow(self):
        return self.ahead_ms


class Deadly(Loop):
    """A loop that died once, as `revive` sees it."""

    def __init__(self, name):
        super().__init__(name, lambda: None)
        self.died = True

    def revive(self):
        died, self.died = self.died, False
        return died


class Bench:
    def __init__(self):
        self.clock = SteppedClock()
        self.telemetry = Telemetry({Mode.LIVE: ["exchange1"], Mode.TEST: []})
        self.loops = []
        self.dead_in_intake = 0
        self.stopping = threading.Event()
        self.supervisor = Supervisor(
            modes=SimpleNamespace(revive=lambda: self.dead_in_intake),
            loops=lambda: self.loops,
            clock=self.clock,
            telemetry=self.telemetry,
            stopping=self.stopping,
        )


def test_dead_threads_are_started_again_counted_and_remembered():
    bench = Bench()
    bench.loops, bench.dead_in_intake = [Deadly("flusher"), Deadly("collector")], 1
    bench.supervisor.step()
    assert bench.telemetry.thread_restarts == 3
    assert bench.telemetry.restart_mono == bench.clock.now().mono_ms
    bench.dead_in_intake = 0
    bench.supervisor.step()
    assert bench.telemetry.thread_restarts == 3


def test_the_rate_of_a_feed_follows_its_last_ten_seconds():
    bench = Bench()
    feed = bench.telemetry.feeds["exchange1"]
    for _ in range(60):
        feed.aggregated += 25
        bench.supervisor.step()
        bench.clock.advance(500)
    assert feed.rate() == 50.0
    for _ in range(22):
        bench.supervisor.step()
        bench.clock.advance(500)
    assert feed.rate() == 0.0


def test_a_step_of_the_system_clock_is_told_once(caplog):
    bench = Bench()
    for ahead_ms in (0, 300, 5_000, 5_020, 5_020, -100):
        bench.clock.ahead_ms = ahead_ms
        bench.supervisor.step()
    assert [record.by_s for record in caplog.records] == [4.7, -5.12]
    assert bench.telemetry.clock_step_ms == -100


def test_it_survives_any_failure_and_ends_with_the_service(caplog):
    bench = Bench()

    def broken():
        bench.stopping.set()
        raise RuntimeError("broken")

    bench.supervisor._loops = broken
    thread = threading.Thread(target=bench.supervisor.run)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert [record.message for record in caplog.records] == ["supervisor failed"]
