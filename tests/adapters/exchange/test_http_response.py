"""Responses out of bytes: the same however they are split, as an independent parser reads them."""

import gzip
import re
import tracemalloc
import zlib
from itertools import pairwise

import h11
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from marketflow.adapters.exchange.http_response import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    Response,
    ResponseReader,
)
from marketflow.domain.errors import QuoteFailed

OK = b"HTTP/1.1 200 OK\r\n"


def read(*pieces, end=False):
    """Return the response, None if it is not whole; stop feeding once it is."""
    reader = ResponseReader()
    for piece in pieces:
        response = reader.feed(piece)
        if response is not None:
            return response
    return reader.end() if end else None


def refusal(*pieces, end=False):
    with pytest.raises(QuoteFailed) as refused:
        read(*pieces, end=end)
    assert len(str(refused.value)) < 160
    assert str(refused.value).isprintable()
    return str(refused.value)


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (OK + b"Content-Length: 2\r\n\r\nhi", Response(200, b"hi", True)),
        (OK + b"Content-Length: 0\r\n\r\n", Response(200, b"", True)),
        (OK + b"content-length :\t2 \r\n\r\nhi", Response(200, b"hi", True)),
        (OK + b"Content-Length: 2, 2\r\nContent-Length: 2\r\n\r\nhi", Response(200, b"hi", True)),
        (OK + b"Content-Length: 2\r\nConnection: Close\r\n\r\nhi", Response(200, b"hi", False)),
        (OK + b"Connection: x,\r\n close\r\nContent-Length: 0\r\n\r\n", Response(200, b"", False)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Response(200, b"hi", False)),
        (
            b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi",
            Response(200, b"hi", True),
        ),
        (b"HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nhi", Response(404, b"hi", True)),
        (b"HTTP/1.1 404\nContent-Length: 2\n\nhi", Response(404, b"hi", True)),
        (b"\r\n\r\nHTTP/1.1  200 \r\nContent-Length: 2\r\n\r\nhi", Response(200, b"hi", True)),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", Response(204, b"", True)),
        (b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", Response(304, b"", True)),
        (b"HTTP/1.1 204 No\r\n\r\n", Response(204, b"", True)),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK
            + b"Content-Length: 2\r\n\r\nhi",
            Response(200, b"hi", True),
        ),
        (
            OK + b"Transfer-Encoding: Chunked\r\nContent-Length: 99\r\n\r\n"
            b"2;a=b\r\nhi\r\n00a\r\n 0123\r\n678\r\n0;x\r\nT: x\r\n\r\n",
            Response(200, b"hi 0123\r\n678", True),
        ),
        (OK + b"Transfer-Encoding: chunked\n\n2 \nhi\n0\n\n", Response(200, b"hi", True)),
        (
            OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
            Response(200, b"", False),
        ),
    ],
)  # fmt: skip
def test_a_response_is_read_whole_or_byte_by_byte(data, expected):
    assert read(data) == expected
    assert read(*bytewise(data)) == expected
    assert read(data[:-1]) is None


def test_a_body_without_a_length_ends_with_the_connection():
    data = OK + b"Connection: keep-alive\r\n\r\nhi there"
    assert read(data) is None
    assert read(data, end=True) == Response(200, b"hi there", False)
    assert read(*bytewise(data), end=True) == Response(200, b"hi there", False)


def test_a_connection_that_said_more_than_it_was_asked_is_not_used_again():
    assert read(OK + b"Content-Length: 2\r\n\r\nhiHTTP") == Response(200, b"hi", False)
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    assert read(chunked + b"x") == Response(200, b"hi", False)
    assert read(b"HTTP/1.1 204 No\r\n\r\nx") == Response(204, b"", False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        OK + b"Content-Length: 3\r\n\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
    ],
)
def test_an_answer_that_ends_early_is_refused(data):
    assert refusal(data, end=True) == "connection was closed before the answer was whole"


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: +2\r\n\r\nhi",
        OK + b"Content-Length: 0x2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        OK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhiho\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * 5_000,
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 20_000,
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"80000\r\n%b\r\n80001\r\n" % bytes(0x80000),
        OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
        b"\r\n" * (MAX_HEAD_BYTES // 2 + 1),
        OK + b"X: " + b"x" * MAX_HEAD_BYTES,
        OK + b"X: " + b" " * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000,
        OK + b"\r\n" + b"x" * (MAX_BODY_BYTES + 1),
    ],
)  # fmt: skip
def test_what_is_no_response_or_too_much_of_one_is_refused(data):
    refusal(data)
    if len(data) < 10_000:
        refusal(*bytewise(data))


def test_the_largest_head_and_body_are_read():
    length = b"Content-Length: %d\r\n" % MAX_BODY_BYTES
    padding = b"X: %b\r\n\r\n" % (b"x" * (MAX_HEAD_BYTES - len(OK + length) - 7))
    response = read(OK + length + padding, b"x" * MAX_BODY_BYTES)
    assert len(response.body) == MAX_BODY_BYTES


@pytest.mark.parametrize("name", [b"gzip", b"x-gzip", b"deflate", b"identity, GZIP"])
def test_what_was_compressed_unasked_is_unpacked(name):
    packed = zlib.compress(b"hello") if name == b"deflate" else gzip.compress(b"hello")
    head = OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (name, len(packed))
    assert read(head + packed) == Response(200, b"hello", True)
    assert "be what its encoding says" in refusal(head + b"x" * len(packed))


def test_a_compressed_answer_must_be_whole_and_not_too_large():
    def packed(data, cut=0):
        body = gzip.compress(data)[: -cut or None]
        return OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    assert len(read(packed(bytes(MAX_BODY_BYTES))).body) == MAX_BODY_BYTES
    assert "unpacked" in refusal(packed(b"hello" * 100, cut=9))
    bomb = packed(bytes(64 * MAX_BODY_BYTES))
    tracemalloc.start()
    try:
        assert "unpacked" in refusal(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


FRAMINGS = st.sampled_from(["length", "chunked", "close"])
EXTRA = st.lists(
    st.sampled_from(
        [b"Server: x", b"Date: now", b"Connection: close", b"Connection: keep-alive", b"X-Empty:"]
    ),
    max_size=4,
)


@st.composite
def responses(draw):
    body = draw(st.binary(max_size=60))
    framing = draw(FRAMINGS)
    lines = [
        b"HTTP/1.%d %d %b"
        % (
            draw(st.integers(0, 1)) if framing != "chunked" else 1,
            draw(st.sampled_from([200, 201, 204, 301, 304, 400, 404, 429, 500, 503])),
            draw(st.sampled_from([b"OK", b"", b"Too Many Requests"])),
        ),
        *draw(EXTRA),
    ]
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        at, pieces = 0, []
        while at < len(body):
            size = draw(st.integers(1, 20))
            piece = body[at : at + size]
            pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
            at += size
        body = b"".join(
            [*pieces, b"0\r\n", draw(st.sampled_from([b"", b"Trailer: x\r\n"])), b"\r\n"]
        )
    informational = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    return informational + b"\r\n".join([*lines, b"", b""]) + body


def outcome(*pieces):
    """Return status and body, or that it was refused."""
    try:
        return read(*pieces, end=True)[:2]
    except QuoteFailed:
        return "refused"


def split_at(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if b > a]


def mutated(data, changes):
    for at, value in changes:
        place = at % (len(data) + 1)
        data = data[:place] + value + data[place + 1 :]
    return data


CUTS = st.lists(st.integers(0, 400), max_size=8)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.sampled_from([b"", b"\r", b"\n", b" ", b"0", b":", b"\r\n\r\n", b"x"]),
    ),
    max_size=3,
)


@settings(deadline=None)
@given(responses(), CHANGES, CUTS)
@example(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", [], list(range(60)))
def test_any_split_of_the_bytes_says_the_same(data, changes, cuts):
    data = mutated(data, changes)
    assert outcome(*split_at(data, cuts)) == outcome(data)
    assert outcome(*bytewise(data)) == outcome(data)


def h11_reads(data):
    """Return what h11 makes of *data*: status, body and whether the connection lives on."""
    connection = h11.Connection(our_role=h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    status, body, ended = None, b"", False
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(b"")
            ended = True
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            alive = connection.their_state is h11.DONE
            keep = alive and not connection.trailing_data[0] and not ended
            return Response(status, body, keep)


def in_common(response, data):
    # h11 keeps no connection of HTTP/1.0 alive
    return response._replace(keep=False) if b"HTTP/1.0" in data else response


@settings(deadline=None)
@given(responses())
def test_an_independent_parser_reads_the_same(data):
    assert in_common(read(data, end=True), data) == in_common(h11_reads(data), data)


@settings(deadline=None)
@given(responses(), CHANGES)
def test_what_an_independent_parser_takes_is_taken_in_the_same_sense(data, changes):
    data = mutated(data, changes)
    assume(set(re.findall(rb"HTTP/([0-9.]+)", data)) <= {b"1.0", b"1.1"})  # it takes others too
    try:
        expected = h11_reads(data)
    except h11.RemoteProtocolError:
        return
    assert in_common(read(data, end=True), data) == in_common(expected, data)


@settings(deadline=None)
@given(st.binary(max_size=300), CUTS)
def test_garbage_is_refused_and_nothing_else_is_raised(data, cuts):
    assert outcome(*split_at(data, cuts)) == "refused"
