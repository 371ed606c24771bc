"""From bytes to requests, however they are cut, and from answers to bytes."""

from contextlib import suppress
from http import HTTPStatus
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeexchange.http_messages import (
    MAX_HEAD,
    Answer,
    BadRequest,
    Request,
    RequestReader,
    complaint,
    encode,
)

GET = b"GET /mock/ticker/btcusdt HTTP/1.1\r\nHost: x\r\n\r\n"


def read(*pieces):
    reader, requests = RequestReader(), []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next()) is not None:
            requests.append(request)
    return requests


def refusal(data):
    with pytest.raises(BadRequest) as refused:
        read(data)
    return refused.value.status


def test_a_request_is_read():
    assert read(GET) == [Request("GET", "/mock/ticker/btcusdt", "1.1", keep_alive=True)]


def test_a_query_is_left_out():
    assert read(GET.replace(b"btcusdt", b"btcusdt?t=1?2"))[0].path == "/mock/ticker/btcusdt"


@pytest.mark.parametrize(
    ("version", "header", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"CONNECTION:Foo, Close \r\n", False),
        (b"1.1", b"Proxy-Connection: close\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_the_client_says_whether_the_connection_stays(version, header, keep_alive):
    (request,) = read(b"GET / HTTP/%b\r\nHost: x\r\n%b\r\n" % (version, header))
    assert (request.version, request.keep_alive) == (version.decode(), keep_alive)


@given(
    st.lists(
        st.sampled_from(
            [
                GET,
                b"\r\n" + GET,
                b"HEAD /a HTTP/1.0\r\n\r\n",
                b"POST /b HTTP/1.1\r\ncontent-length: 60\r\n\r\n" + GET.ljust(60, b"."),
                b"GET /c HTTP/1.1\r\nContent-Length: 0\r\nX: \xff\r\n\r\n",
            ]
        ),
        max_size=6,
    ),
    st.lists(st.integers(0, 400)),
)
def test_it_does_not_matter_where_the_bytes_are_cut(messages, cuts):
    data = b"".join(messages)
    ends = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(ends)]
    requests = read(*pieces)
    assert requests == read(data)
    assert len(requests) == len(messages)


@given(st.binary(max_size=300))
def test_whatever_arrives_is_read_refused_or_waited_for(data):
    with suppress(BadRequest):
        read(data, b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_or_too_large_is_refused(data, status):
    assert refusal(data) == status


def parsed(message, method="GET"):
    """Return status, headers and body as an independent parser sees them."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(message)
    response, body = connection.next_event(), b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response.status_code, dict(response.headers), body


def test_an_answer_is_whole():
    request = Request("GET", "/", "1.1", keep_alive=True)
    status, headers, body = parsed(encode(Answer(HTTPStatus.OK, b'{"a":1}'), request))
    assert (status, body) == (200, b'{"a":1}')
    assert headers == {b"content-type": b"application/json", b"content-length": b"7"}


def test_head_gets_no_body_but_its_length():
    request = Request("HEAD", "/", "1.1", keep_alive=True)
    message = encode(Answer(HTTPStatus.OK, b'{"a":1}'), request)
    assert parsed(message, "HEAD")[1][b"content-length"] == b"7"


def test_a_last_answer_says_so():
    answer = complaint(HTTPStatus.NOT_FOUND, 'what "is" that')
    for request in (None, Request("GET", "/", "1.0", keep_alive=False)):
        status, headers, body = parsed(encode(answer, request))
        assert (status, body) == (404, b'{"msg": "what \\"is\\" that"}')
        assert headers[b"connection"] == b"close"


def test_an_old_client_is_told_that_the_connection_stays():
    message = encode(Answer(HTTPStatus.OK, b"{}"), Request("GET", "/", "1.0", keep_alive=True))
    assert b"\r\nConnection: keep-alive\r\n" in message


def test_a_cut_answer_promises_more_than_it_holds():
    message = encode(
        Answer(HTTPStatus.OK, b"0123456789", is_cut=True),
        Request("GET", "/", "1.1", keep_alive=True),
    )
    assert b"Content-Length: 10\r\n" in message
    assert message.endswith(b"\r\n\r\n01234")
