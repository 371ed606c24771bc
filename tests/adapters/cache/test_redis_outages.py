"""A publisher on a real server: whatever befalls it, every tick is there in the end, once."""

import threading
from time import monotonic

import pytest

from marketflow.adapters.cache.redis_ticks import RedisTickMirror
from marketflow.adapters.clock import SystemClock
from marketflow.application.pipeline.publisher import Publisher
from tests.adapters.cache.redis_reader import RedisReader
from tests.fakes import ManualClock
from tests.proxy import Proxy
from tests.servers import RedisServer, free_port
from tests.tick_ledger import Feed

SECRET = "hunter2-Wq"


class Rig:
    """A publisher with a feed, stepped by hand."""

    def __init__(self, place, *, password=None):
        self.clock = ManualClock()
        self.mirror = RedisTickMirror(
            place.host, place.port, retention_ms=300_000, password=password
        )
        self.publisher = Publisher(
            self.mirror,
            clock=self.clock,
            flush_interval_ms=100,
            retention_ms=300_000,
            max_bytes=67_108_864,
        )
        self.feed = Feed(self.publisher)

    def flush(self, times=1, *, every_ms=100, most=5):
        for _ in range(times):
            now = self.clock.advance(every_ms)
            self.feed.offer(now.wall_ms, most=most)
            self.publisher.flush(now)

    def flush_until(self, condition, *, most=5):
        """Flush, each time after the longest delay between attempts."""
        for _ in range(50):
            if condition():
                return
            self.flush(every_ms=3_000, most=most)
        pytest.fail(f"still not so, problem: {self.publisher.problem}")

    def recover(self):
        self.flush_until(lambda: self.publisher.problem is None)
        self.flush()
        self.flush_until(lambda: not self.publisher._backlog.oldest(1))

    def fail(self, *, most=5):
        self.flush_until(lambda: self.publisher.problem is not None, most=most)
        return self.publisher.problem

    def expect_everything(self, server):
        with RedisReader(server) as reader:
            assert reader.all_ticks() == self.feed.ledger
            assert reader.latest() == self.feed.latest
        assert self.publisher.dropped == 0


@pytest.fixture
def server():
    with RedisServer() as server:
        yield server


@pytest.fixture
def admin(server):
    with RedisReader(server) as reader:
        yield reader.client


@pytest.fixture
def new_rig():
    rigs = []

    def new_rig(place, **options):
        rigs.append(Rig(place, **options))
        return rigs[-1]

    yield new_rig
    for rig in rigs:
        rig.mirror.close()


@pytest.fixture
def rig(server, new_rig):
    return new_rig(server)


def test_without_a_fault_every_tick_is_there(rig, server):
    rig.flush(30)
    rig.flush(2, most=2_000)
    assert rig.publisher.problem is None
    assert rig.publisher.errors == 0
    rig.expect_everything(server)


def test_down_at_start(rig, server):
    server.stop()
    rig.flush(20)
    assert rig.publisher.problem == f"redis at 127.0.0.1:{server.port}: Connection refused"
    server.start()
    rig.recover()
    rig.expect_everything(server)


def test_killed_and_back_with_nothing(rig, server):
    rig.flush(20)
    server.kill()
    rig.fail()
    rig.flush(20)
    server.start()
    rig.recover()
    rig.expect_everything(server)


def test_killed_and_back_before_anybody_noticed(rig, server):
    rig.flush(20)
    server.kill()
    server.start()
    rig.flush()
    rig.recover()
    rig.expect_everything(server)


def test_stopped_and_back_with_all_it_had(new_rig):
    with RedisServer(settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        rig = new_rig(server)
        rig.flush(20)
        server.stop()
        rig.fail()
        server.start()
        rig.recover()
        rig.expect_everything(server)


def test_hanging(rig, server):
    rig.flush(20)
    server.pause()
    started = monotonic()
    assert rig.fail().endswith("no answer within 0.5 s")
    rig.flush(4, every_ms=3_000)  # connections that wait with the first flush in them
    assert rig.publisher.errors == 5
    assert monotonic() - started < 5 * 0.7
    server.resume()
    rig.recover()
    rig.expect_everything(server)


def test_out_of_memory(rig, server, admin):
    rig.flush(5)
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 200_000)
    assert "maxmemory" in rig.fail(most=200)
    rig.flush(10, every_ms=500)
    admin.config_set("maxmemory", 0)
    rig.recover()
    rig.expect_everything(server)


def test_read_only(rig, server, admin):
    rig.flush(5)
    admin.replicaof("127.0.0.1", free_port())
    assert "read only replica" in rig.fail()
    rig.flush(5, every_ms=500)
    admin.replicaof("NO", "ONE")
    rig.recover()
    rig.expect_everything(server)


def test_wrong_password(server, new_rig, admin, caplog):
    caplog.set_level("DEBUG")
    admin.config_set("requirepass", "something else")
    rig = new_rig(server, password=SECRET)
    assert "invalid username-password pair" in rig.fail()
    rig.flush(5, every_ms=500)
    admin.config_set("requirepass", SECRET)
    rig.recover()
    server.password = SECRET
    rig.expect_everything(server)
    assert SECRET not in caplog.text
    assert all(SECRET not in str(record.__dict__) for record in caplog.records)


@pytest.mark.parametrize("delivered", [True, False])
def test_cut_in_the_middle_of_a_flush_again_and_again(server, new_rig, delivered):
    with Proxy(server.host, server.port) as proxy:
        rig = new_rig(proxy)
        for round_ in range(10):
            rig.flush(round_)
            struck = proxy.when_seen(b"EXEC", then="cut", delivered=delivered)
            rig.fail()
            assert struck.wait(5)
            rig.recover()
        assert rig.publisher.errors == 10
    rig.expect_everything(server)


def test_flushes_that_arrive_after_they_were_given_up_are_not_doubled(server, new_rig):
    with Proxy(server.host, server.port) as proxy:
        rig = new_rig(proxy)
        rig.flush(3)
        proxy.delay(0.7)
        rig.fail()
        rig.flush(2, every_ms=3_000)
        proxy.heal()
        rig.recover()
    rig.expect_everything(server)


def test_a_long_outage_is_made_good_at_once(rig, server):
    server.kill()
    rig.flush(300)
    rig.flush(30, most=60)
    server.start()
    rig.recover()
    rig.expect_everything(server)


def test_a_thread_of_its_own_goes_through_all_of_it(server):
    clock = SystemClock(max_step_ms=60_000)
    mirror = RedisTickMirror(server.host, server.port, retention_ms=300_000)
    publisher = Publisher(
        mirror, clock=clock, flush_interval_ms=20, retention_ms=300_000, max_bytes=67_108_864
    )
    feed = Feed(publisher)
    thread = threading.Thread(target=publisher.run, name="publisher")
    thread.start()
    waiting = threading.Event()

    def offer_until(condition):
        deadline = monotonic() + 20
        while not condition():
            assert monotonic() < deadline
            feed.offer(clock.now().wall_ms)
            waiting.wait(0.002)

    def mirrors():
        return publisher.problem is None

    try:
        offer_until(lambda: publisher.latency_ms is not None)
        server.pause()
        offer_until(lambda: publisher.errors >= 3)
        server.resume()
        offer_until(mirrors)
        server.kill()
        offer_until(lambda: not mirrors())
        server.start()
        offer_until(mirrors)
    finally:
        publisher.close()
        thread.join(10)
    assert not thread.is_alive()
    with RedisReader(server) as reader:
        assert reader.all_ticks() == feed.ledger
    assert publisher.dropped == 0
