"""Subscribers over real sockets: nobody waits for one that does not read, and all end in time."""

import random
import re
import select
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from time import monotonic

import pytest

from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.server import Server
from marketflow.adapters.web.subscribers import Subscriber

STREAM = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
WAIT = 10.0  # seconds that no test should need
SMALL = 4096


class Numbers:
    """A stream whose beats number their frames, each of *size* bytes; no more than *beats*."""

    interval_s = 0.005

    def __init__(self, size=16, beats=1_000_000):
        self.size = size
        self.beats = beats
        self.asked = 0
        self.frame = b""
        self.in_this_beat = 0

    def beat(self, now):
        self.asked += 1
        if self.asked > self.beats:
            return False
        self.frame = b"%d " % self.asked + b"." * self.size + b"\n"
        self.in_this_beat = 0
        return True

    def answer(self, subscription=None):
        subscription = subscription or Subscription(self)
        return Response(200, content_type="text/event-stream", stream=subscription)


class Subscription:
    """One client's; taking the frame may take *pause_s*."""

    def __init__(self, stream, pause_s=0.0):
        self.stream = stream
        self.pause_s = pause_s

    def hello(self):
        return b"hello\n"

    def frame(self):
        if self.pause_s:
            threading.Event().wait(self.pause_s)
        self.stream.in_this_beat += 1
        return self.stream.frame


class Served:
    """A running server with a stream at /stream."""

    def __init__(self, stream, app=None, given=True, **limits):
        self.stream = stream
        self.subscribers_told = []  # of the beat under way, whenever another path was asked for
        self.app = app or (lambda request: stream.answer())
        self.server = Server(
            ("127.0.0.1", 0),
            self._answer,
            refuse=lambda status, detail, _: Response(status, detail.encode()),
            observe=lambda *_: None,
            limits=Limits(**limits),
            stream=stream if given else None,
        )

    def _answer(self, request):
        if request.path == "/stream":
            return self.app(request)
        self.subscribers_told.append(self.stream.in_this_beat)
        return Response(200, request.path.encode())

    def connect(self, receive_bytes=None):
        client = socket.socket()
        client.settimeout(WAIT)
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(self.server.server_address[:2])
        return client

    def subscribe(self, stack, receive_bytes=None, asking=STREAM):
        client = stack.enter_context(self.connect(receive_bytes))
        client.sendall(asking)
        return client, stack.enter_context(client.makefile("rb"))


@pytest.fixture
def stack():
    with ExitStack() as clients:
        yield clients


@pytest.fixture
def serve():
    """Start servers that are stopped, and whose threads are gone, afterwards."""
    with ExitStack() as stack:

        def start(stream, *arguments, **options):
            served = Served(stream, *arguments, **options)
            stack.callback(served.server.stop, 1.0)
            served.server.start()
            return served

        yield start


def until(condition):
    """Wait for something another thread does soon."""
    deadline, pause = monotonic() + WAIT, threading.Event()
    while not condition():
        assert monotonic() < deadline
        pause.wait(0.002)


def number_of(line):
    return int(line.split()[0])


def head_of(stream):
    return b"".join(iter(stream.readline, b"\r\n"))


def test_a_stream_has_a_head_without_a_length_a_hello_and_then_every_frame(serve, stack):
    _, lines = serve(Numbers()).subscribe(stack)
    head = head_of(lines)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in head
    assert not re.search(rb"content-length|transfer-encoding", head, re.IGNORECASE)
    assert lines.readline() == b"hello\n"
    first = number_of(lines.readline())
    assert [number_of(lines.readline()) for _ in range(5)] == list(range(first + 1, first + 6))


def test_head_is_answered_with_the_head_alone(serve, stack):
    served = serve(Numbers())
    _, lines = served.subscribe(stack, asking=STREAM.replace(b"GET", b"HEAD"))
    assert head_of(lines).startswith(b"HTTP/1.1 200 OK\r\n")
    assert lines.read() == b""
    assert served.server.subscribers() == 0


def test_what_was_asked_before_is_answered_before_and_what_comes_after_is_not(serve, stack):
    served = serve(Numbers())
    client, lines = served.subscribe(stack, asking=GET + STREAM + GET)
    assert b"Content-Length: 2\r\n" in head_of(lines)
    assert lines.read(2) == b"/a"
    head_of(lines)
    assert lines.readline() == b"hello\n"
    client.sendall(GET * 100)
    numbers = [number_of(lines.readline()) for _ in range(20)]
    assert numbers == list(range(numbers[0], numbers[0] + 20))


def test_who_does_not_read_is_closed_and_nobody_waits_for_it(serve, stack):
    served = serve(Numbers(size=20_000), write_timeout=60.0)
    _, reading = served.subscribe(stack)
    head_of(reading)
    reading.readline()
    stuck, _ = served.subscribe(stack, SMALL)
    until(lambda: served.server.subscribers() == 2)
    before = number_of(reading.readline())
    while served.server.counts.timeouts == 0:
        assert number_of(reading.readline()) == before + 1
        before += 1
        assert before < 1000
    assert served.server.subscribers() == 1
    with suppress(ConnectionResetError):
        while stuck.recv(1 << 20):
            pass
    for _ in range(20):
        assert number_of(reading.readline()) == before + 1
        before += 1


def test_who_takes_nothing_for_too_long_is_closed_however_little_waits(serve, stack):
    # 60 kB more than the sockets' own buffers take, and then nothing: it is never too much
    served = serve(Numbers(size=60_000, beats=6), write_timeout=0.2)
    served.subscribe(stack, SMALL)
    until(lambda: served.server.counts.timeouts + served.server.counts.resets == 1)
    assert served.server.connections() == 0


class Loop:
    """A loop that only notes what a subscriber wants of it."""

    limits = Limits(write_timeout=10.0)

    def __init__(self):
        self.watched = []
        self.dropped = []

    def watch(self, connection, events):
        self.watched.append(events)

    def drop(self, connection, why=""):
        self.dropped.append(why)


@pytest.fixture
def pair(stack):
    """Return a subscriber at second 0, its loop, its stream and the client's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.connect(listener.getsockname())
        server = stack.enter_context(listener.accept()[0])
    server.setblocking(False)
    loop, stream = Loop(), Numbers()
    return Subscriber(server, Subscription(stream), loop, 0.0), loop, stream, client


def fill(subscriber, stream, now):
    """Tell more than the sockets' buffers take; return it."""
    stream.frame = random.Random(1).randbytes(8_000_000)
    subscriber.tell(now)
    assert 0 < len(subscriber.unsent) < 8_000_000
    return stream.frame


def test_the_deadline_counts_from_the_last_progress(pair):
    subscriber, loop, stream, client = pair
    subscriber.check(1000.0)
    fill(subscriber, stream, 1000.0)
    subscriber.check(1009.9)
    while subscriber.since == 1000.0:
        client.recv(100_000)
        subscriber.write(1009.9)
    subscriber.check(1019.8)
    assert loop.dropped == []
    subscriber.check(1020.0)
    assert loop.dropped == ["timeouts"]


def test_what_was_not_taken_at_once_follows_whole_and_in_order(pair):
    subscriber, loop, stream, client = pair
    wanted = fill(subscriber, stream, 0.0)
    received = b""
    while subscriber.unsent:
        received += client.recv(1_000_000)
        subscriber.write(1.0)
    stream.frame = b"the next"
    subscriber.tell(1.0)
    while not received.endswith(b"the next"):
        received += client.recv(1_000_000)
    assert wanted + b"the next" == received
    assert loop.watched == [select.EPOLLOUT, select.EPOLLIN]


def test_what_waits_is_not_copied_and_too_much_of_it_ends_the_stream(pair):
    subscriber, loop, stream, _ = pair
    stream.frame = b"x" * 100_000
    while not subscriber.unsent:
        subscriber.tell(0.0)
    held = sys.getrefcount(stream.frame)
    for _ in range(2):
        subscriber.tell(0.0)
    held_then = sys.getrefcount(stream.frame)  # in an assertion it would be held once more
    assert held_then == held + 2
    assert loop.dropped == []
    while not loop.dropped:
        subscriber.tell(0.0)
    assert loop.dropped == ["timeouts"]
    assert sys.getrefcount(stream.frame) < held + 4


def test_a_slow_reader_misses_nothing(serve, stack):
    served = serve(Numbers(size=30_000, beats=10))
    client, _ = served.subscribe(stack, SMALL)
    received = b""
    while b"\n10 " not in received or not received.endswith(b"\n"):
        received += client.recv(3000)
    frames = received.partition(b"hello\n")[2].splitlines()
    assert [number_of(frame) for frame in frames] == list(range(1, 11))
    assert {len(frame.partition(b" ")[2]) for frame in frames} == {30_000}


def test_between_two_slots_of_a_beat_others_are_answered(serve, stack):
    stream = Numbers()
    served = serve(stream, lambda _: stream.answer(Subscription(stream, pause_s=0.001)))
    for _ in range(40):
        served.subscribe(stack)
    until(lambda: served.server.subscribers() == 40)
    with served.connect() as client:
        while not any(0 < told < 40 for told in served.subscribers_told):
            client.sendall(GET)
            client.recv(4096)
            assert len(served.subscribers_told) < 200


def test_without_subscribers_there_is_no_beat(serve):
    served = serve(Numbers())
    threading.Event().wait(0.05)
    assert served.stream.asked == 0
    with ExitStack() as stack:
        served.subscribe(stack)
        until(lambda: served.stream.asked > 3)
    until(lambda: served.server.subscribers() == 0)
    asked = served.stream.asked
    threading.Event().wait(0.05)
    assert served.stream.asked == asked


def test_a_client_that_leaves_is_noticed_although_nothing_is_sent(serve):
    served = serve(Numbers(beats=0))
    with ExitStack() as stack:
        served.subscribe(stack)
        until(lambda: served.server.subscribers() == 1)
    until(lambda: served.server.connections() == 0)


def test_a_silent_stream_outlasts_every_deadline(serve, stack):
    served = serve(Numbers(beats=0), idle_timeout=0.05, request_timeout=0.05, write_timeout=0.05)
    client, _ = served.subscribe(stack)
    until(lambda: served.server.subscribers() == 1)
    client.sendall(b"GET /unfinished")
    asked = served.stream.asked
    until(lambda: served.stream.asked > asked + 60)
    assert served.server.subscribers() == 1


def test_a_subscriber_takes_a_place_and_is_never_shed(serve, stack):
    served = serve(Numbers(), max_connections=2)
    _, lines = served.subscribe(stack)
    head_of(lines)
    for _ in range(3):
        _, answer = served.subscribe(stack, asking=GET)
        assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
    assert served.server.connections() == 2
    assert served.server.counts.shed == 2
    served.subscribe(stack)
    until(lambda: served.server.subscribers() == 2)
    _, answer = served.subscribe(stack, asking=GET)
    assert answer.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"


def test_stop_ends_every_stream_at_once(serve, stack):
    served = serve(Numbers(size=60_000))
    _, lines = served.subscribe(stack)
    served.subscribe(stack, SMALL)
    until(lambda: served.server.subscribers() == 2)
    began = monotonic()
    assert served.server.stop(WAIT)
    assert monotonic() - began < WAIT / 2
    lines.read()
    assert served.server.subscribers() == 0


def test_a_stream_that_cannot_begin_is_a_500_and_others_go_on(serve, stack, caplog):
    stream = Numbers()
    served = serve(stream)
    _, lines = served.subscribe(stack)
    head_of(lines)
    broken = Subscription(stream)
    broken.hello = lambda: 1 / 0
    served.app = lambda _: stream.answer(broken)
    _, answer = served.subscribe(stack)
    assert answer.readline() == b"HTTP/1.1 500 Internal Server Error\r\n"
    assert "hello" in lines.readline().decode()
    assert number_of(lines.readline())
    assert [record.message for record in caplog.records] == ["request failed"]


def test_a_subscription_that_fails_costs_its_client_alone(serve, stack, caplog):
    stream = Numbers()
    served = serve(stream)
    _, lines = served.subscribe(stack)
    head_of(lines)
    lines.readline()
    broken = Subscription(stream)
    broken.frame = lambda: 1 / 0
    served.app = lambda _: stream.answer(broken)
    _, ended = served.subscribe(stack)
    assert ended.read().endswith(b"hello\n")
    first = number_of(lines.readline())
    assert number_of(lines.readline()) == first + 1
    assert [record.message for record in caplog.records] == ["connection failed"]


def test_a_server_without_a_stream_says_so(serve, stack, caplog):
    served = serve(Numbers(), given=False)
    _, lines = served.subscribe(stack)
    lines.read()
    assert "stream must be given" in caplog.text
    assert served.server.connections() == 0
