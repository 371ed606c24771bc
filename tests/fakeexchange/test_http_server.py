"""What clients of an exchange over HTTP get."""

import http.client
import json
import socket
from random import Random
from threading import Event
from time import monotonic, time

import pytest

from fakeexchange import http_server
from fakeexchange.answer_faults import AnswerFaults
from fakeexchange.faults import Plan, Span
from fakeexchange.quotes import quote

LINE = b"GET /mock/ticker/%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
GET = LINE % (b"btcusdt", b"")
CLOSE = LINE % (b"ethusdt", b"Connection: close\r\n")


class Asker:
    """Asks with the standard library's client, over one connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ask(self, path="/mock/ticker/btcusdt", method="GET", body=None, **headers):
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        text = response.read()
        return response, json.loads(text) if text else None


@pytest.fixture
def asker(serve_http):
    askers = []

    def make(**options):
        askers.append(Asker(serve_http(**options)))
        return askers[-1]

    yield make
    for one in askers:
        one.connection.close()


def everything(connection):
    """Return what arrives until the server ends the connection."""
    with connection.makefile("rb") as stream:
        return stream.read()


def test_a_ticker_is_the_exchanges_quote_of_now(asker):
    before = int(time())
    response, answer = asker(seed=3).ask()
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert list(answer) == ["symbol", "price", "volume", "timestamp"]
    assert before <= answer["timestamp"] <= time()
    expected = quote(1, "btcusdt", answer["timestamp"], 3)
    assert answer["price"] == pytest.approx(expected.price, rel=0.001)
    assert answer["volume"] == pytest.approx(expected.volume, rel=0.001)
    assert type(answer["timestamp"]) is int


def test_symbols_are_answered_in_small_letters(asker):
    assert asker().ask("/mock/ticker/BtcUsdt")[1]["symbol"] == "btcusdt"


def test_a_connection_is_kept_for_many_requests_of_any_outcome(asker):
    one = asker()
    outcomes = [
        ("GET", "/mock/ticker/btcusdt", 200, None),
        ("GET", "/mock/ticker/nosuch", 404, "unknown symbol nosuch"),
        ("GET", "/mock/ticker/", 404, "unknown symbol "),
        ("GET", '/mock/ticker/a"b', 404, 'unknown symbol a"b'),
        ("GET", "/mock/ticker/btcusdt/x", 404, "unknown symbol btcusdt/x"),
        ("GET", "/", 404, "there is only /mock/ticker/{symbol}"),
        ("POST", "/mock/ticker/btcusdt", 405, "only GET is allowed"),
        ("GET", "/mock/ticker/ethusdt", 200, None),
    ]
    one.connection.connect()
    local = one.connection.sock.getsockname()
    for method, path, status, msg in outcomes:
        response, answer = one.ask(path, method, body=b"x" * 5000 if method == "POST" else None)
        assert (response.status, answer.get("msg")) == (status, msg)
        assert response.headers["Allow"] == ("GET, HEAD" if status == 405 else None)
    assert one.connection.sock.getsockname() == local


def test_head_tells_what_get_would(asker):
    response, answer = asker().ask(method="HEAD")
    assert (response.status, answer) == (200, None)
    assert int(response.headers["Content-Length"]) > 60


def test_connection_close_is_honoured(serve_http, connect):
    client = connect(serve_http())
    client.sendall(CLOSE)
    answer = everything(client)
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"}")


def test_pipelined_requests_are_answered_in_order(serve_http, connect):
    client = connect(serve_http())
    client.sendall(GET * 500 + CLOSE + GET)
    answers = everything(client).split(b"HTTP/1.1 200 OK")[1:]
    symbols = [json.loads(answer.partition(b"\r\n\r\n")[2])["symbol"] for answer in answers]
    assert symbols == ["btcusdt"] * 500 + ["ethusdt"]


def test_a_request_may_arrive_byte_by_byte(serve_http, connect):
    client = connect(serve_http())
    for byte in CLOSE:
        client.sendall(bytes([byte]))
    assert everything(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_half_closes_gets_its_answer(serve_http, connect):
    client = connect(serve_http())
    client.sendall(GET)
    client.shutdown(socket.SHUT_WR)
    assert everything(client).endswith(b"}")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (
            b"POST /mock/ticker/x HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 99_999,
            b"413",
        ),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"431"),
    ],
)
def test_what_cannot_be_read_is_answered_and_the_connection_closed(
    serve_http, connect, sent, status
):
    client = connect(serve_http())
    client.sendall(sent)
    assert everything(client).startswith(b"HTTP/1.1 " + status)


def send_until_refused(client):
    deadline = monotonic() + 5
    while monotonic() < deadline:
        client.sendall(b"x")
        Event().wait(0.01)


def send_until_full(client):
    """Send requests until the server has stopped reading; return how many bytes that were."""
    client.settimeout(0.2)
    sent = 0
    try:
        while True:
            sent += client.send(GET * 100)
    except TimeoutError:
        client.settimeout(10)
        return sent


def test_a_client_that_does_not_close_after_a_last_answer_is_closed(
    serve_http, connect, monkeypatch
):
    monkeypatch.setattr("fakeexchange.http_client._LINGER_MS", 50.0)
    client = connect(serve_http())
    client.sendall(CLOSE)
    everything(client)
    with pytest.raises(OSError, match=r"reset|[Bb]roken"):
        send_until_refused(client)


def test_a_client_that_does_not_read_holds_up_nobody_and_is_answered_later(serve_http, connect):
    port = serve_http()
    slow = connect(port, receive_buffer=4096)
    sent = send_until_full(slow)
    other = connect(port)
    other.sendall(CLOSE)
    assert everything(other).endswith(b"}")
    slow.shutdown(socket.SHUT_WR)
    assert everything(slow).count(b"HTTP/1.1 200 OK") == sent // len(GET)


def test_clients_that_reset_disturb_nobody(serve_http, connect):
    port = serve_http()
    for _ in range(20):
        client = connect(port)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(GET * 50)
        client.close()
    client = connect(port)
    client.sendall(CLOSE)
    assert everything(client).endswith(b"}")


def test_more_clients_than_there_is_room_for_wait(serve_http, connect, monkeypatch):
    monkeypatch.setattr(http_server, "MAX_CLIENTS", 2)
    port = serve_http()
    first, second, third = (connect(port) for _ in range(3))
    for client in (first, second):
        client.sendall(GET)
        assert client.recv(9) == b"HTTP/1.1 "
    third.sendall(CLOSE)
    third.settimeout(0.2)
    with pytest.raises(TimeoutError):
        third.recv(1)
    third.settimeout(10)
    first.close()
    assert everything(third).endswith(b"}")


def spoilt(kind, **plan):
    return {"faults": AnswerFaults([kind], Random(1), Plan(**plan))}


def test_a_slow_answer_comes_late_in_order_and_holds_up_nobody_else(serve_http, connect):
    port = serve_http(**spoilt("slow", slow_share=1.0, slow_for=Span(300, 301)))
    first, second = connect(port), connect(port)
    began = monotonic()
    first.sendall(GET + CLOSE)
    second.sendall(CLOSE)
    assert everything(second).endswith(b"}")
    assert 0.3 <= monotonic() - began < 0.85  # not after the other's 0.6
    assert everything(first).count(b"HTTP/1.1 200 OK") == 2
    assert monotonic() - began >= 0.6


def test_a_client_that_leaves_before_its_slow_answer_disturbs_nobody(serve_http, connect):
    port = serve_http(**spoilt("slow", slow_share=1.0, slow_for=Span(100, 101)))
    for _ in range(5):
        client = connect(port)
        client.sendall(GET)
        client.close()
    client = connect(port)
    client.sendall(CLOSE)
    assert everything(client).endswith(b"}")


def test_a_stalled_exchange_answers_when_the_stall_is_over(serve_http, connect):
    stalling = spoilt("stall", stall_every=Span(0, 1), stall_for=Span(300, 301))
    client = connect(serve_http(**stalling))
    client.sendall(GET)  # the first request plans the stall
    assert client.recv(9) == b"HTTP/1.1 "
    Event().wait(0.005)
    began = monotonic()
    client.sendall(CLOSE)
    assert everything(client).endswith(b"}")
    assert monotonic() - began >= 0.29


def test_a_dropped_connection_ends_in_the_middle_of_an_answer(serve_http, connect):
    client = connect(serve_http(**spoilt("drop", drop_every=Span(0, 0))))
    client.sendall(GET * 3)
    *_, last = everything(client).split(b"HTTP/1.1 200 OK")[1:]
    head, _, body = last.partition(b"\r\n\r\n")
    assert len(body) < int(head.split(b"Content-Length: ")[1].split(b"\r")[0])


def test_errors_are_500(asker):
    response, answer = asker(**spoilt("error", error_share=1.0)).ask()
    assert (response.status, answer) == (500, {"msg": "an error fault was due"})


def test_stale_quotes_are_minutes_old(asker):
    answer = asker(**spoilt("stale", stale_share=1.0)).ask()[1]
    assert 119 <= time() - answer["timestamp"] <= 902
