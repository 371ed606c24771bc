"""What HTTP refuses, and what many or rude clients cost."""

import json
import resource
import socket
import struct
from contextlib import ExitStack

import pytest

from tests.end_to_end.client import problem, talk
from tests.end_to_end.harness import config_of, until

pytestmark = pytest.mark.slow

CLIENTS = 1_000


@pytest.fixture
def service(service_with_built_in_prices):
    return service_with_built_in_prices


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil", "10.0.0.1"]
)
def test_another_host_is_421(service, host):
    problem(service.ask("/prices/latest/BTCUSDT", host=host), 421)
    problem(service.ask("/mode/test", "POST", host=host), 421)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]", "LOCALHOST:8080"])
def test_our_own_names_are_served(service, host):
    assert service.ask("/mode", host=host).status == 200


def test_a_page_elsewhere_cannot_post(service):
    own = f"http://127.0.0.1:{service.port}"
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"{own}.evil.example"},
        {"sec_fetch_site": "cross-site"},
    ):
        problem(service.ask("/mode/test", "POST", **headers), 403)
    for headers in ({}, {"origin": own}, {"origin": own, "sec_fetch_site": "same-origin"}):
        assert service.ask("/mode/test", "POST", **headers).status == 200
    assert service.ask("/mode", origin="https://evil.example").status == 200


def test_with_an_admin_token_every_post_needs_it(serve):
    service = serve({"http": {"admin_token": "open-sesame"}}).start()
    for credentials in ("", "open-sesame", "Bearer", "Bearer wrong", "Basic open-sesame"):
        headers = {"authorization": credentials} if credentials else {}
        answer = service.ask("/mode/test", "POST", **headers)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert service.ask("/mode/test", "POST", authorization="Bearer open-sesame").status == 200
    assert service.ask("/mode").status == 200


def message(start: bytes, *headers: bytes, host: bytes = b"Host: localhost") -> bytes:
    """Write a request's head."""
    return b"".join(line + b"\r\n" for line in (start, host, *headers)) + b"\r\n"


def get(*headers: bytes) -> bytes:
    return message(b"GET /mode HTTP/1.1", *headers)


def post(*headers: bytes) -> bytes:
    return message(b"POST /mode/test HTTP/1.1", *headers)


UNCLEAR = {
    "no Host": (b"GET /mode HTTP/1.1\r\n\r\n", {400}),
    "two Hosts": (get(b"Host: localhost"), {400}),
    "a space before the colon": (get(b"A : b"), {400}),
    "a folded header": (get(b"A: b", b" c"), {400}),
    "a bare CR": (get(b"A: b\rc"), {400}),
    "NUL": (get(b"A: b\0c"), {400}),
    "a length with a sign": (get(b"Content-Length: +3") + b"abc", {400}),
    "a negative length": (get(b"Content-Length: -1"), {400}),
    "two lengths": (post(b"Content-Length: 1", b"Content-Length: 2") + b"ab", {400}),
    "a length and chunks": (
        post(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + get(),
        {400},
    ),
    "chunks and a length": (
        post(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n" + get(),
        {400},
    ),
    "an unknown encoding": (post(b"Transfer-Encoding: xchunked"), {400, 501}),
    "an obfuscated encoding": (post(b"Transfer-Encoding: \x0bchunked"), {400, 501}),
    "101 headers": (get(*[b"A: b"] * 101), {431}),
    "a long header": (get(b"A: " + b"x" * 9_000), {431}),
    "long headers together": (get(*[b"A: " + b"x" * 5_000] * 8), {431}),
    "a long target": (message(b"GET /%s HTTP/1.1" % (b"x" * 5_000)), {414}),
    "a long body": (post(b"Content-Length: 70000"), {413}),
    "another version": (message(b"GET /mode HTTP/2.0"), {505}),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\r\n\r\n", {400}),
    "no HTTP": (b"hello\r\n\r\n", {400}),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_what_is_no_clear_request_is_refused_once(service, kind):
    data, statuses = UNCLEAR[kind]
    found = talk(service, data)
    assert found.count(b"HTTP/1.1 ") == 1
    head, _, body = found.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    assert status in statuses
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert service.ask("/health/live").status == 200


def test_clients_that_break_off_leave_nothing_behind(service):
    before = service.descriptors()
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: service.descriptors() <= before, 5, "closed connections")
    assert not service.tracebacks()


def test_a_thousand_idle_clients_cost_little_memory_and_no_thread(serve, feed, record_property):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CLIENTS + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, CLIENTS + 1000), hard))
    feeder = feed(pulse_s=0.1)
    service = serve(config_of([(feeder.name, feeder.port)])).start()
    service.wait_for_ticks(20)
    memory, tasks = service.rss_mb(), service.tasks()
    request = b"GET /prices/latest/BTCUSDT HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        address = ("127.0.0.1", service.port)
        clients = [
            stack.enter_context(socket.create_connection(address, timeout=10))
            for _ in range(CLIENTS)
        ]
        for _ in range(2):
            for client in clients:
                client.sendall(request)
            for client in clients:
                assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        cost = service.rss_mb() - memory
        record_property("rss_mb", round(cost, 1))
        print({"rss_mb": round(cost, 1)})
        assert cost < 40
        assert service.tasks() == tasks
        assert service.total("http_connections") > CLIENTS
        before = service.total("ticks_aggregated_total")
        service.wait_for_ticks(before + 20)
    service.terminate()
