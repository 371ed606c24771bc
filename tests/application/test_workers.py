"""A source's workers: every chunk yields one batch, whatever happens to the worker."""

import threading
from time import monotonic

import pytest

from marketflow.application.pipeline.baton import Baton
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.distributor import Distributor
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.messages import Heard, Origin
from marketflow.application.pipeline.workers import Workers
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.tick import Decoded
from tests.fake_sources import line, wire_decoder

NOW = 1_746_446_400_500
WAIT_S = 5.0


class Bench:
    """Workers of one source; their batches end in a list."""

    def __init__(self, decode, count=1, baton=None):
        self.lane = Lane(Origin(Mode.LIVE, "exchange1", 0))
        self.batches = Channel("batches", 64)
        self.workers = Workers(
            self.lane, decode, count=count, rules=MinuteRules(), batches=self.batches, baton=baton
        )
        self.sent = 0

    def send(self, chunk):
        self.lane.work.put(Heard(self.lane, self.sent, NOW, 1_000 + self.sent, chunk))
        self.sent += 1

    def receive(self):
        (batch,) = self.batches.take(1, WAIT_S)
        return batch

    def await_death(self):
        deadline = monotonic() + WAIT_S
        while self.workers.alive() == len(self.workers.names) and monotonic() < deadline:
            threading.Event().wait(0.001)

    def stop(self):
        assert self.workers.stop(monotonic() + WAIT_S)


@pytest.fixture
def new_bench():
    made = []

    def new(decode, count=1, baton=None):
        made.append(Bench(decode, count, baton))
        made[-1].workers.start()
        return made[-1]

    yield new
    for bench in made:
        bench.stop()


class Deadly:
    """A decoder that kills its worker on the first so many chunks that say so."""

    def __init__(self, deaths):
        self.deaths = deaths
        self.seen = 0
        self.lock = threading.Lock()

    def __call__(self, chunk, received_ms):
        with self.lock:
            self.seen += 1
            if b"deadly" in chunk and self.deaths:
                self.deaths -= 1
                raise SystemExit
        return Decoded(chunk.count(b"\n"), rejects={"json": chunk.count(b"\n")})


def test_a_chunk_becomes_a_batch_of_its_ticks(new_bench):
    bench = new_bench(wire_decoder().decode)
    bench.send(line("BTCUSDT", 1.5, NOW) * 2 + b"garbage\n")
    batch = bench.receive()
    assert (batch.number, batch.ticks, batch.rejects) == (0, 2, {"json": 1})


def test_five_workers_yield_every_chunk_once_in_whatever_order(new_bench):
    bench = new_bench(wire_decoder().decode, count=5)
    assert bench.workers.names == [f"worker-exchange1_{slot}" for slot in range(5)]
    for _ in range(60):
        bench.send(line("BTCUSDT", 1.5, NOW))
    assert sorted(bench.receive().number for _ in range(60)) == list(range(60))


def test_an_exception_costs_its_chunk_only_and_is_logged_once_a_second(new_bench, caplog):
    def decode(chunk, received_ms):
        if b"bad" in chunk:
            raise ValueError("bad")
        return Decoded(1)

    bench = new_bench(decode)
    for chunk in (b"bad\nbad\n", b"good\n", b"bad\n"):
        bench.send(chunk)
    assert [bench.receive().rejects for _ in range(3)] == [{"worker": 2}, {}, {"worker": 1}]
    assert bench.workers.alive() == 1
    assert [record.message for record in caplog.records] == ["worker failed"]


def test_a_worker_that_died_is_started_again_and_its_chunk_processed_again(new_bench, caplog):
    decode = Deadly(deaths=1)
    bench = new_bench(decode)
    bench.send(b"deadly\n")
    bench.send(b"next\n")
    bench.await_death()
    assert bench.workers.alive() == 0
    assert bench.workers.revive() == 1
    assert [bench.receive().rejects for _ in range(2)] == [{"json": 1}] * 2
    assert bench.workers.alive() == 1
    assert bench.workers.revive() == 0
    assert decode.seen == 3
    assert [record.worker for record in caplog.records] == ["worker-exchange1_0"]


def test_a_chunk_that_killed_two_workers_is_counted_as_failed(new_bench):
    bench = new_bench(Deadly(deaths=2))
    bench.send(b"deadly\ndeadly\n")
    bench.send(b"next\n")
    for _ in range(2):
        bench.await_death()
        assert bench.workers.revive() == 1
    first, second = bench.receive(), bench.receive()
    assert (first.number, first.rejects) == (0, {"worker": 2})
    assert (second.number, second.rejects) == (1, {"json": 1})


def test_the_deaths_of_one_chunk_do_not_count_for_the_next(new_bench):
    seen = set()

    def decode(chunk, received_ms):
        if chunk not in seen:
            seen.add(chunk)
            raise SystemExit
        return Decoded(1)

    bench = new_bench(decode)
    for chunk in (b"one\n", b"two\n", b"three\n"):
        bench.send(chunk)
        bench.await_death()
        assert bench.workers.revive() == 1
        assert bench.receive().rejects == {}


def test_stopping_lets_the_workers_finish_what_is_queued():
    bench = Bench(lambda chunk, received_ms: Decoded(1), count=3)
    for _ in range(30):
        bench.send(b"x\n")
    bench.workers.start()
    bench.stop()
    assert bench.workers.alive() == 0
    assert len(bench.batches.take(64, 0)) == 30
    bench.stop()


def test_a_worker_that_hangs_is_given_up_at_the_deadline():
    going_on = threading.Event()

    def decode(chunk, received_ms):
        going_on.wait(WAIT_S)
        return Decoded(1)

    bench = Bench(decode)
    bench.workers.start()
    bench.send(b"x\n")
    assert not bench.workers.stop(monotonic() + 0.02)
    going_on.set()
    bench.stop()


def test_the_distributor_routes_each_chunk_to_its_source(caplog):
    inbox, lanes = Channel("inbox", 8), [Lane(Origin(Mode.LIVE, n, 0)) for n in ("a", "b", "c")]
    for number, lane in enumerate([lanes[0], lanes[1], lanes[2], lanes[0]]):
        inbox.put(Heard(lane, number, NOW, 0, b"x\n"))
    lanes[2].work.close()
    inbox.close()
    Distributor(inbox).run()
    assert [heard.number for heard in lanes[0].work.take(9, 0)] == [0, 3]
    assert [heard.number for heard in lanes[1].work.take(9, 0)] == [1]
    assert [record.source for record in caplog.records] == ["c"], "its intake was given up"


def test_workers_of_all_sources_take_turns(new_bench):
    baton, seen = Baton(), []

    def decode(chunk, received_ms):
        seen.append(baton.is_held())
        return Decoded(1)

    benches = [new_bench(decode, 5, baton), new_bench(decode, 5, baton)]
    for bench in benches * 10:
        bench.send(b"line\n")
    for bench in benches * 10:
        bench.receive()
    assert seen == [True] * 20
    assert not baton.is_held()


def test_who_is_stuck_does_not_keep_the_others_from_their_turn(new_bench):
    baton, stuck, go_on = Baton(), threading.Event(), threading.Event()

    def wait_for_it(chunk, received_ms):
        stuck.set()
        go_on.wait(WAIT_S)
        return Decoded(1)

    slow, quick = new_bench(wait_for_it, 1, baton), new_bench(wire_decoder().decode, 1, baton)
    slow.send(b"line\n")
    assert stuck.wait(WAIT_S)
    quick.send(line("BTCUSDT", 1.5, NOW))
    assert quick.receive().ticks == 1
    go_on.set()
    slow.receive()
