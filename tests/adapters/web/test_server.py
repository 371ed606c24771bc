"""The server over real sockets: answers, refusals, deadlines, parking, stopping."""

import logging
import re
import resource
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from time import monotonic
from typing import NamedTuple

import pytest

from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.server import Server

HOST = b"Host: localhost\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
WAIT = 10.0  # seconds that no test should need


def echo(request):
    body = f"{request.method} {request.path}".encode() + request.body
    return Response(200, body, "text/plain")


def refuse(status, detail, request_id):
    return Response(status, f"{detail} ({request_id})".encode(), "text/plain")


class Served(NamedTuple):
    """A running server, and what its observer was told."""

    server: Server
    seen: list

    def connect(self):
        client = socket.create_connection(self.server.server_address[:2], timeout=WAIT)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def ask(self, data):
        """Send *data* and return everything until the server closes."""
        with self.connect() as client:
            client.sendall(data)
            return read_to_end(client)


def read_to_end(client):
    with client.makefile("rb") as stream:
        return stream.read()


def read_answer(stream):
    """Return status, headers and body of one answer on a binary stream."""
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def until(condition):
    """Wait for something another thread does soon."""
    deadline, pause = monotonic() + WAIT, threading.Event()
    while not condition():
        assert monotonic() < deadline
        pause.wait(0.002)


@pytest.fixture
def serve():
    """Start servers that are stopped, and whose threads are gone, afterwards."""
    with ExitStack() as stack:

        def start(app=echo, host="127.0.0.1", observe=None, **limits):
            seen = []
            server = Server(
                (host, 0),
                app,
                refuse=refuse,
                observe=observe or (lambda *told: seen.append(told)),
                limits=Limits(**limits),
            )
            stack.callback(lambda: check_threads(server))
            stack.callback(server.stop, 1.0)
            server.start()
            return Served(server, seen)

        yield start


def check_threads(server):
    assert not any(thread.is_alive() for thread in server.threads)
    assert server.connections() == 0


def test_an_answer_has_all_its_headers(serve):
    with serve().connect() as client, client.makefile("rb") as stream:
        client.sendall(GET)
        status, headers, body = read_answer(stream)
    assert (status, body) == (200, b"GET /a")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", headers["date"])
    assert headers["content-type"] == "text/plain"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", headers["x-request-id"])
    assert "connection" not in headers


def test_the_standard_client_keeps_its_connection(serve):
    served = serve()
    client = HTTPConnection(*served.server.server_address[:2], timeout=WAIT)
    for number in range(3):
        client.request("POST", f"/{number}", body=b"x" * 60_000, headers={"X-Request-Id": "mine"})
        answer = client.getresponse()
        assert f"POST /{number}".encode() + b"x" * 60_000 == answer.read()
        assert answer.headers["X-Request-Id"] == "mine"
    client.close()
    assert served.server.counts.accepted == 1


def test_pipelined_requests_are_answered_in_order(serve):
    many = b"".join(b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(2000))
    last = b"GET /last HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    answers = serve().ask(many + last + GET)
    paths = re.findall(rb"GET /(\d+|last)", answers)
    assert [*(b"%d" % n for n in range(2000)), b"last"] == paths


def test_a_request_may_come_byte_by_byte(serve):
    with serve().connect() as client:
        for byte in b"POST /a HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n" + HOST:
            client.send(bytes([byte]))
        for byte in b"\r\nhi":
            client.send(bytes([byte]))
        assert read_to_end(client).endswith(b"POST /ahi")


def test_head_gets_the_length_and_no_body(serve):
    with serve().connect() as client, client.makefile("rb") as stream:
        client.sendall(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
        assert b"200" in stream.readline()
        head = b"".join(iter(stream.readline, b"\r\n"))
        assert b"Content-Length: 7\r\n" in head
        assert read_answer(stream)[2] == b"GET /a"


def test_http_1_0_is_closed_unless_it_asks(serve):
    served = serve()
    assert b"Connection: close\r\n" in served.ask(b"GET /a HTTP/1.0\r\n\r\n" + GET)
    answers = served.ask(
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n"
    )
    assert b"Connection: keep-alive\r\n" in answers
    assert answers.endswith(b"GET /b")


def test_a_half_closed_client_is_answered(serve):
    answer: Future[Response] = Future()
    served = serve(lambda request: answer if request.path == "/later" else echo(request))
    with served.connect() as client:
        client.sendall(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
        client.shutdown(socket.SHUT_WR)
        until(served.server.connections)
        answer.set_result(Response(200, b"late"))
        answers = read_to_end(client)
    assert answers.index(b"late") < answers.index(b"GET /a")


def test_a_response_may_end_the_connection(serve):
    served = serve(lambda _: Response(200, b"bye", close=True))
    assert served.ask(GET + GET).endswith(b"bye")
    assert len(served.seen) == 1


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nContent-Length: +3\r\n" + HOST + b"\r\nabc"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500),
        (400, b"\xff\xfe\x80" * 100),
        (413, b"POST / HTTP/1.1\r\nContent-Length: 999999\r\n" + HOST + b"\r\n" + b"x" * 900_000),
        (414, b"GET /" + b"a" * 50_000),
        (417, b"POST / HTTP/1.1\r\nExpect: x\r\nContent-Length: 3\r\n" + HOST + b"\r\n"),
        (431, b"GET / HTTP/1.1\r\nX: " + b"a" * 50_000),
        (501, b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (501, b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + HOST + b"\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04"),
    ],
)
def test_a_refusal_is_the_one_and_last_answer(serve, status, data):
    served = serve(linger_timeout=0.2)
    answers = served.ask(data + GET)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in answers
    assert [(None, status)] == [(told[0], told[1].status) for told in served.seen]


def test_a_smuggled_request_is_not_answered(serve):
    answers = serve(linger_timeout=0.2).ask(
        b"POST /a HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n"
        + HOST
        + b"\r\n0\r\n\r\n"
        + GET
    )
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


def test_good_requests_before_a_bad_one_are_answered(serve):
    answers = serve(linger_timeout=0.2).ask(GET + b"nonsense\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"400"]


def test_100_continue_comes_before_the_body(serve):
    with serve().connect() as client, client.makefile("rb") as stream:
        client.sendall(
            GET
            + b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
            + HOST
            + b"\r\n"
        )
        assert read_answer(stream)[2] == b"GET /a"
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        stream.readline()
        client.sendall(b"hi")
        assert read_answer(stream)[2] == b"POST /ahi"


@pytest.mark.parametrize(
    "begun",
    [b"GET /a HT", b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n" + HOST + b"\r\nab", GET + b"G"],
)
def test_a_request_that_does_not_end_gets_408(serve, begun):
    answers = serve(request_timeout=0.1, linger_timeout=0.2).ask(begun)
    assert b"HTTP/1.1 408 " in answers


def test_dripping_bytes_do_not_extend_the_deadline(serve):
    served = serve(request_timeout=0.2, linger_timeout=0.1)
    pause, deadline = threading.Event(), monotonic() + WAIT
    with served.connect() as client:
        client.sendall(b"GET /")
        while not served.seen:
            assert monotonic() < deadline
            client.sendall(b"a")
            pause.wait(0.02)
        assert served.seen[0][1].status == 408


def test_an_idle_connection_is_closed_without_a_word(serve):
    served = serve(idle_timeout=0.1)
    with served.connect() as silent, served.connect() as client, client.makefile("rb") as stream:
        client.sendall(GET)
        read_answer(stream)
        assert stream.read() == b""
        assert read_to_end(silent) == b""


def test_a_reader_that_does_not_read_is_closed_and_others_are_served(serve):
    big = Response(200, b"x" * 20_000_000)
    served = serve(lambda r: big if r.path == "/big" else echo(r), write_timeout=0.3)
    with served.connect() as slow:
        slow.sendall(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
        until(lambda: served.seen)
        assert served.ask(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"GET /a")
        until(lambda: served.server.counts.timeouts == 1)
    until(lambda: served.server.connections() == 0)


def test_a_slow_reader_that_makes_progress_gets_everything(serve):
    served = serve(lambda _: Response(200, b"x" * 12_000_000, close=True), write_timeout=0.3)
    pause, received = threading.Event(), 0
    with served.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(GET)
        while data := client.recv(400_000):
            received += len(data)
            pause.wait(0.01)
    assert received > 12_000_000


def test_answers_are_not_built_ahead_for_a_client_that_does_not_read(serve):
    served = serve(lambda _: Response(200, b"x" * 100_000), max_unsent=200_000)
    with served.connect() as client:
        client.sendall(GET * 300)
        threading.Event().wait(0.3)
        assert len(served.seen) < 150  # what fits into the sockets' buffers, about 10 MB
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client).count(b"HTTP/1.1 200") == 300


def test_a_future_answers_when_it_is_done_and_in_order(serve):
    later: Future[Response] = Future()
    served = serve(lambda request: later if request.path == "/later" else echo(request))
    with served.connect() as client, client.makefile("rb") as stream:
        client.sendall(GET + b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
        assert read_answer(stream)[2] == b"GET /a"
        client.sendall(b"GET /c HTTP/1.1\r\n" + HOST + b"\r\n")
        assert served.ask(b"GET /b HTTP/1.0\r\n\r\n").endswith(b"GET /b")
        later.set_result(Response(200, b"later"))
        assert read_answer(stream)[2] == b"later"
        assert read_answer(stream)[2] == b"GET /a"
        assert read_answer(stream)[2] == b"GET /c"


@pytest.mark.parametrize("taken_first", [False, True])
def test_a_future_behind_an_answer_that_is_not_taken_keeps_its_place(serve, taken_first):
    later: Future[Response] = Future()
    answers = {"/big": Response(200, b"x" * 20_000_000), "/later": later}
    served = serve(lambda request: answers.get(request.path) or echo(request), max_unsent=1 << 30)
    with served.connect() as client, client.makefile("rb") as stream:
        requests = b""
        for path in (b"/big", b"/later", b"/a"):
            requests += b"GET %b HTTP/1.1\r\n" % path + HOST + b"\r\n"
        client.sendall(requests)
        until(lambda: later._done_callbacks)  # it is parked
        if not taken_first:
            later.set_result(Response(200, b"later"))
            until(lambda: len(served.seen) == 2)
        assert len(read_answer(stream)[2]) == 20_000_000
        if taken_first:
            threading.Event().wait(0.05)
            later.set_result(Response(200, b"later"))
        assert read_answer(stream)[2] == b"later"
        assert read_answer(stream)[2] == b"GET /a"


def test_a_hundred_parked_clients_occupy_no_thread(serve):
    later: Future[Response] = Future()
    asked = threading.Semaphore(0)

    def park(_):
        asked.release()
        return later

    served = serve(park)
    before = threading.active_count()
    with ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(100)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
        for _ in clients:
            assert asked.acquire(timeout=WAIT)
        assert before == threading.active_count()
        later.set_result(Response(200, b"all"))
        assert all(read_to_end(client).endswith(b"all") for client in clients)


def test_futures_from_a_pool_answer_under_load(serve):
    with ThreadPoolExecutor(4) as pool:
        served = serve(lambda request: pool.submit(echo, request))
        many = b"".join(b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in range(300))
        with served.connect() as client:
            client.sendall(many)
            client.shutdown(socket.SHUT_WR)
            paths = re.findall(rb"GET /(\d+)", read_to_end(client))
    assert [b"%d" % n for n in range(300)] == paths


def test_a_client_that_leaves_while_parked_is_forgotten(serve):
    later: Future[Response] = Future()
    served = serve(lambda _: later)
    client = served.connect()
    client.sendall(GET)
    until(lambda: served.server.connections() == 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
    until(lambda: served.server.connections() == 0)
    later.set_result(Response(200))
    until(lambda: served.seen)


@pytest.mark.parametrize("in_future", [False, True])
def test_an_exception_is_a_500_with_the_request_id_logged_once(serve, caplog, in_future):
    def fail(request):
        if request.path != "/fail":
            return echo(request)
        if not in_future:
            raise ZeroDivisionError
        failed: Future[Response] = Future()
        failed.set_exception(ZeroDivisionError())
        return failed

    served = serve(fail)
    with caplog.at_level(logging.ERROR), served.connect() as client:
        client.sendall(b"GET /fail HTTP/1.1\r\nX-Request-Id: f1\r\n" + HOST + b"\r\n" + GET)
        client.shutdown(socket.SHUT_WR)
        answers = read_to_end(client)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"500", b"200"]
    assert b"(f1)" in answers
    (record,) = caplog.records
    assert (record.getMessage(), record.request_id) == ("request failed", "f1")
    assert record.exc_info


def test_a_failing_observer_costs_one_connection_and_not_the_server(serve, caplog):
    told = []

    def observe(*what):
        told.append(what)
        if len(told) < 3:
            raise ZeroDivisionError

    served = serve(observe=observe)
    with caplog.at_level(logging.CRITICAL):
        assert served.ask(GET) == b""
        assert served.ask(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"GET /a")


def test_a_reset_mid_answer_is_counted_and_not_logged(serve, caplog):
    served = serve(lambda _: Response(200, b"x" * 20_000_000))
    client = served.connect()
    client.sendall(GET)
    until(lambda: served.seen)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
    until(lambda: served.server.counts.resets == 1)
    assert caplog.records == []


def test_when_full_the_longest_idle_makes_room(serve):
    served = serve(max_connections=3)
    with ExitStack() as stack:
        clients, streams = [], []
        for _ in range(3):
            clients.append(stack.enter_context(served.connect()))
            streams.append(stack.enter_context(clients[-1].makefile("rb")))
            clients[-1].sendall(GET)
            read_answer(streams[-1])
        clients[0].sendall(GET)
        read_answer(streams[0])
        assert served.ask(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"GET /a")
        assert streams[1].read() == b""
        for still_there in (0, 2):
            clients[still_there].sendall(GET)
            assert read_answer(streams[still_there])[2] == b"GET /a"
    assert served.server.counts.shed == 1


def test_when_full_of_waiting_clients_the_next_is_turned_away(serve):
    later: Future[Response] = Future()
    served = serve(lambda _: later, max_connections=2)
    with served.connect() as one, served.connect() as two:
        one.sendall(GET)
        two.sendall(GET)
        until(lambda: served.server.connections() == 2)
        with served.connect() as third:
            assert read_to_end(third).startswith(b"HTTP/1.1 503 ")
        later.set_result(Response(200))
    assert served.server.counts.turned_away == 1


def test_the_descriptor_limit_is_raised_for_the_cap(serve):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    serve(max_connections=min(2000, hard - 256))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= min(2256, hard)


def test_stop_lets_answers_in_flight_leave_and_closes_the_idle(serve):
    later: Future[Response] = Future()
    served = serve(lambda request: later if request.path == "/later" else echo(request))
    with served.connect() as idle, served.connect() as busy:
        busy.sendall(b"GET /later HTTP/1.1\r\n" + HOST + b"\r\n")
        until(lambda: served.server.connections() == 2)
        stopper = threading.Thread(target=served.server.stop)
        stopper.start()
        assert read_to_end(idle) == b""
        later.set_result(Response(200, b"done"))
        answer = read_to_end(busy)
        stopper.join(WAIT)
    assert answer.endswith(b"done")
    assert b"Connection: close\r\n" in answer
    with pytest.raises(ConnectionRefusedError):
        served.connect()


def test_stop_does_not_wait_longer_than_its_deadline(serve):
    never: Future[Response] = Future()
    served = serve(lambda _: never)
    with served.connect() as client:
        client.sendall(GET)
        until(lambda: served.server.connections() == 1)
        started = monotonic()
        assert served.server.stop(0.2)
        assert monotonic() - started < 2
        assert read_to_end(client) == b""
    assert served.server.stop(0.2)
    never.set_result(Response(200))  # too late for anyone, and harmless


def test_stop_lets_a_slow_reader_finish(serve):
    served = serve(lambda _: Response(200, b"x" * 8_000_000))
    with served.connect() as client:
        client.sendall(GET)
        until(lambda: served.seen)
        stopper = threading.Thread(target=served.server.stop)
        stopper.start()
        assert len(read_to_end(client)) > 8_000_000
        stopper.join(WAIT)


def test_a_server_that_was_not_started_can_be_stopped():
    server = Server(("127.0.0.1", 0), echo, refuse=refuse, observe=lambda *_: None)
    assert server.stop(0.1)
    assert server.stop(0.1)


def test_a_taken_port_is_an_error_and_a_restart_is_not():
    def bind(port):
        return Server(("127.0.0.1", port), echo, refuse=refuse, observe=lambda *_: None)

    server = bind(0)
    server.start()
    with socket.create_connection(server.server_address[:2], timeout=WAIT) as client:
        client.sendall(GET)
        assert client.recv(100)
        with pytest.raises(OSError, match="in use"):
            bind(server.server_port)
        server.stop(1.0)
    again = bind(server.server_port)
    again.stop(1.0)


def test_a_port_may_be_shared_on_request():
    def bind(port):
        return Server(
            ("127.0.0.1", port), echo, refuse=refuse, observe=lambda *_: None, reuse_port=True
        )

    one = bind(0)
    two = bind(one.server_port)
    one.stop(0.1)
    two.stop(0.1)


def test_it_serves_ipv6(serve):
    try:
        served = serve(host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert served.ask(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"GET /a")


def test_its_two_threads_are_named(serve):
    served = serve()
    assert [thread.name for thread in served.server.threads] == ["http-accept", "http-poll"]
    assert all(thread.is_alive() for thread in served.server.threads)


def test_the_observer_is_told_the_route_and_the_time(serve):
    served = serve()
    served.ask(b"GET /a HTTP/1.0\r\n\r\n")
    ((request, response, seconds),) = served.seen
    assert (request.path, request.route, response.status) == ("/a", "other", 200)
    assert 0 <= seconds < WAIT


IDLE_CLIENTS = """
import socket, sys
clients = []
for _ in range(1000):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
    client.sendall(b"GET /a HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    clients.append(client)
for client in clients:
    client.recv(1000)
print("connected", flush=True)
sys.stdin.read()
for client in clients:
    client.close()
"""


def resident_bytes():
    with open("/proc/self/statm") as statm:  # noqa: PTH123  no file of ours
        return int(statm.read().split()[1]) * resource.getpagesize()


def test_a_thousand_idle_clients_cost_little_memory_and_no_thread(serve):
    served = serve()
    served.ask(b"GET /a HTTP/1.0\r\n\r\n")
    memory, threads = resident_bytes(), threading.active_count()
    with subprocess.Popen(
        [sys.executable, "-c", "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (1200, "
         "r.getrlimit(r.RLIMIT_NOFILE)[1]))\n" + IDLE_CLIENTS, str(served.server.server_port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as clients:  # fmt: skip
        assert clients.stdout.readline() == b"connected\n"
        assert served.server.connections() == 1000
        assert threads == threading.active_count()
        assert resident_bytes() - memory < 40_000_000
        clients.stdin.close()
    until(lambda: served.server.connections() == 0)
