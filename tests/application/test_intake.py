"""One run of a mode's sources, with its real threads: started, looked after, stopped."""

import threading
from time import monotonic

import pytest

from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.distributor import Distributor
from marketflow.application.pipeline.intake import Intake, Plumbing
from marketflow.application.pipeline.loop import Loop
from marketflow.application.telemetry import Telemetry
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.tick import Decoded
from tests.fake_sources import EXCHANGES, ListSource, line
from tests.fakes import ManualClock, MemoryJournal

WAIT_S = 5.0
BURST = line("BTCUSDT", 1.5, ManualClock().now().wall_ms)


class Bench:
    """An intake's surroundings: a distributor, and a collector that only settles."""

    def __init__(self):
        self.inbox, self.batches = Channel("inbox", 64), Channel("batches", 64)
        self.telemetry = Telemetry({Mode.LIVE: list(EXCHANGES), Mode.TEST: []})
        self.plumbing = Plumbing(
            inbox=self.inbox,
            batches=self.batches,
            journal=MemoryJournal(),
            clock=ManualClock(),
            telemetry=self.telemetry,
            rules=MinuteRules(),
            workers_per_source=2,
            backoff_max_s=0.01,
        )
        self.absorbed, self.intakes = [], []
        self.collecting = threading.Event()
        self.collecting.set()
        self.loops = [
            Loop("distributor", Distributor(self.inbox).run),
            Loop("collector", self._collect),
        ]
        for loop in self.loops:
            loop.start()

    def intake(self, *sources):
        self.intakes.append(Intake(Mode.LIVE, 0, sources, self.plumbing))
        return self.intakes[-1]

    def close(self):
        self.collecting.set()
        for intake in self.intakes:
            intake.stop(monotonic() + WAIT_S)
        for loop, channel in zip(self.loops, (self.inbox, self.batches), strict=True):
            channel.close()
            assert loop.join(monotonic() + WAIT_S)

    def _collect(self):
        while batches := self._take():
            for batch in batches:
                self.collecting.wait(WAIT_S)
                self.absorbed.append(batch)
                batch.lane.settle()

    def _take(self):
        try:
            return [self.batches.get()]
        except Exception:
            return []


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


def source(*chunks, exchange="exchange1", **options):
    """Return a source that says so when its chunks are through, and then waits."""
    through = threading.Event()
    made = ListSource(exchange, [b"", *chunks, through.set, ListSource.WAIT], **options)
    made.through = through
    return made


def test_every_chunk_of_every_source_arrives_once_and_the_stop_waits_for_the_last(bench):
    sources = [source(*[BURST] * 40, exchange=exchange) for exchange in EXCHANGES]
    intake = bench.intake(*sources)
    intake.start()
    assert intake.threads() == (9, 9)
    assert [channel.name for channel in intake.channels()] == [f"work-{e}" for e in EXCHANGES]
    for one in sources:
        assert one.through.wait(WAIT_S)
    assert intake.stop(monotonic() + WAIT_S) == []
    assert len(bench.absorbed) == 120
    assert intake.threads() == (9, 0)
    assert intake.oldest_ms() is None


def test_what_is_still_alive_at_the_deadline_is_named_and_a_second_stop_ends_it(bench):
    bench.collecting.clear()
    one = source(BURST)
    intake = bench.intake(one)
    intake.start()
    assert one.through.wait(WAIT_S)
    assert "work-exchange1" in intake.stop(monotonic() + 0.05)
    assert intake.oldest_ms() == ManualClock().now().wall_ms
    bench.collecting.set()
    assert intake.stop(monotonic() + WAIT_S) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_listener_and_a_dead_worker_are_started_again(bench):
    deaths = [SystemExit]

    def decode(chunk, received_ms):
        if deaths:
            raise deaths.pop()
        return Decoded(1)

    def die():
        raise SystemExit

    one = ListSource("exchange1", [b"", BURST, die], [b"", BURST, ListSource.WAIT], decode=decode)
    intake = bench.intake(one)
    intake.start()
    deadline, revived = monotonic() + WAIT_S, 0
    while (revived < 2 or len(bench.absorbed) < 2) and monotonic() < deadline:
        revived += intake.revive()
        threading.Event().wait(0.001)
    assert revived == 2
    assert intake.threads() == (3, 3)
    assert sorted(batch.number for batch in bench.absorbed) == [0, 1]
    assert intake.stop(monotonic() + WAIT_S) == []


def test_a_worker_that_died_just_before_the_stop_does_not_hold_it_up(bench):
    died = threading.Event()

    def decode(chunk, received_ms):
        if not died.is_set():
            died.set()
            raise SystemExit
        return Decoded(1)

    intake = bench.intake(source(BURST, decode=decode))
    intake.start()
    assert died.wait(WAIT_S)
    assert intake.stop(monotonic() + WAIT_S) == []
    assert len(bench.absorbed) == 1
