"""The parser against h11 and against the list of what must be refused; the encoder."""

import re
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marketflow.adapters.web.headers import HeadCache
from marketflow.adapters.web.http1 import Reader, Request
from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.refusal import Refusal
from marketflow.adapters.web.response import Encoder, Response

LIMITS = Limits()
HOST = b"Host: localhost\r\n"
CHUNKED = HOST + b"Transfer-Encoding: chunked\r\n"


def reader(limits=LIMITS):
    return Reader(HeadCache(limits), limits)


def read_all(data, pieces=()):
    """Return the requests in *data*, fed as *pieces*, and "more", "refused" or "closed"."""
    ours, requests = reader(), []
    cuts = [0, *sorted({cut % (len(data) + 1) for cut in pieces}), len(data)]
    try:
        for start, end in pairwise(cuts):
            ours.feed(data[start:end])
            while (request := ours.next()) is not None:
                requests.append(request)
                if not request.keep_alive or request.version == (1, 0):
                    return requests, "closed"
    except Refusal:
        return requests, "refused"
    return requests, "more"


def h11_all(data):
    """Return the same as `read_all`, as the independent parser sees it."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    if data:  # none at all would mean the end
        server.receive_data(data)
    requests = []
    try:
        while True:
            request = server.next_event()
            if request is h11.NEED_DATA:
                return requests, "more"
            body = b""
            while isinstance(event := server.next_event(), h11.Data):
                body += bytes(event.data)
            if event is h11.NEED_DATA:
                return requests, "more"
            requests.append((request, body))
            server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is not h11.DONE or request.http_version == b"1.0":
                return requests, "closed"
            server.start_next_cycle()
    except h11.RemoteProtocolError:
        return requests, "refused"


def joined(headers):
    together = {}
    for name, value in headers:
        text = value.decode("latin-1")
        key = name.decode()
        glue = "; " if key == "cookie" else ", "
        together[key] = together[key] + glue + text if key in together else text
    return together


def assert_accepts_only_what_h11_accepts(data, pieces):
    ours, our_end = read_all(data, pieces)
    theirs, _ = h11_all(data)
    assert len(ours) <= len(theirs)
    if our_end == "more":
        assert len(theirs) == len(ours)
    for mine, (their_request, their_body) in zip(ours, theirs, strict=False):
        assert their_request.method.decode() == mine.method
        assert their_request.target.decode() == mine.target
        assert their_request.http_version.decode() == "{}.{}".format(*mine.version)
        assert their_body == mine.body
        headers = dict(mine.headers)
        if "transfer-encoding" in headers:
            headers["transfer-encoding"] = headers["transfer-encoding"].lower()
        absolute = re.match(r"https?://([^/?]*)", mine.target, re.IGNORECASE)
        expected = joined(their_request.headers)
        if absolute:
            expected["host"] = absolute[1]
        assert expected == headers


names = st.sampled_from(
    [
        "Accept",
        "X-A",
        "Cookie",
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Te st",
    ]
)
values = st.sampled_from(
    [
        "", "5", "0", "+3", "-1", "5, 5", "05", "0x5", "chunked", "Chunked", "xchunked", "identity",
        "chunked, chunked", "close", "keep-alive", "localhost", "[::1]:80", "a b", "é", " x\t ",
        "a\r\n b", "a\rb", "a\nb", "a\x00b", "a\x01b",
    ]
)  # fmt: skip
header_lines = st.lists(
    st.builds(
        lambda name, glue, value, end: f"{name}{glue}{value}{end}".encode("latin-1"),
        names,
        st.sampled_from([":", ": ", ":\t ", " :", " : ", ""]),
        values,
        st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", " \r\n", "\r\r\n"]),
    ),
    max_size=4,
).map(b"".join)
request_lines = st.builds(
    lambda method, gap, target, version, end: f"{method}{gap}{target} {version}{end}".encode(),
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "BREW", "get", "G@T", ""]),
    st.sampled_from([" ", " ", " ", "  ", "\t"]),
    st.sampled_from(
        ["/", "/a?b=c", "/a%2", "/?", "*", "http://h/p", "HTTP://h?q", "//x", "a", "/#f", "/\x7f"]
    ),
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", ""]),
    st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", " \r\n"]),
)
bodies = st.sampled_from(
    [
        b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;x=y\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"+5\r\nhello",
        b"5\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFF\r\n", b"5\r\nhel",
    ]
)  # fmt: skip
wild_requests = st.builds(
    lambda line, host, lines, body: line + host + lines + b"\r\n" + body,
    request_lines,
    st.sampled_from([HOST, HOST, HOST, b""]),
    header_lines,
    bodies,
)
plain_requests = st.builds(
    lambda target, extra, body: b"".join(
        [
            b"POST %b HTTP/1.1\r\n" % target,
            HOST + extra,
            b"Content-Length: %d\r\n\r\n" % len(body),
            body,
        ]
    ),
    st.sampled_from([b"/", b"/prices/latest/BTCUSDT?period=5m"]),
    st.sampled_from([b"", b"Accept: a\r\nAccept: b\r\n", b"Cookie: a\r\nCookie: b\r\n"]),
    st.binary(max_size=20),
)
streams = st.lists(st.one_of(wild_requests, plain_requests), min_size=1, max_size=3).map(b"".join)
cuts = st.lists(st.integers(0, 10_000), max_size=4)


@settings(max_examples=400, deadline=None)
@given(streams, cuts)
@example(b"GET / HTTP/1.1\nHost: a\n\n", [])
@example(b"GET / HTTP/1.1\r\nHost: a\n\nX: y\r\n\r\n", [])
def test_only_what_h11_accepts_is_accepted_and_read_the_same(stream, pieces):
    assert_accepts_only_what_h11_accepts(stream, pieces)


@settings(max_examples=400, deadline=None)
@given(
    streams,
    st.lists(
        st.tuples(
            st.integers(0, 10_000), st.sampled_from(["put", "cut", "set"]), st.binary(max_size=3)
        ),
        min_size=1,
        max_size=4,
    ),
    cuts,
)
def test_mutated_requests_are_read_as_h11_reads_them_or_refused(stream, changes, pieces):
    for place, change, new in changes:
        at = place % (len(stream) + 1)
        end = at if change == "put" else at + 1 if change == "set" else at + 3
        stream = stream[:at] + (b"" if change == "cut" else new) + stream[end:]
    assert_accepts_only_what_h11_accepts(stream, pieces)


@settings(max_examples=100, deadline=None)
@given(st.lists(plain_requests, max_size=4).map(b"".join), cuts)
def test_what_is_plain_is_accepted_however_it_is_cut(stream, pieces):
    ours, end = read_all(stream, pieces)
    assert end == "more"
    assert len(h11_all(stream)[0]) == len(ours)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), cuts)
def test_random_bytes_never_raise_anything_but_a_refusal(data, pieces):
    read_all(data, pieces)


def request(lines, body=b"", start=b"GET / HTTP/1.1\r\n"):
    return start + lines + b"\r\n" + body


REFUSED = [
    ("CL.TE", 400, request(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG")),
    ("TE.CL", 400, request(CHUNKED + b"Content-Length: 3\r\n", b"1\r\nG\r\n")),
    ("two lengths", 400, request(HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n")),
    ("the same length twice", 400, request(HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n")),
    ("a list of lengths", 400, request(HOST + b"Content-Length: 3, 3\r\n")),
    ("negative length", 400, request(HOST + b"Content-Length: -3\r\n")),
    ("signed length", 400, request(HOST + b"Content-Length: +3\r\n")),
    ("hexadecimal length", 400, request(HOST + b"Content-Length: 0x3\r\n")),
    ("empty length", 400, request(HOST + b"Content-Length: \r\n")),
    ("length of 5,000 digits", 413, request(HOST + b"Content-Length: " + b"9" * 5000 + b"\r\n")),
    ("another coding", 501, request(HOST + b"Transfer-Encoding: gzip\r\n")),
    ("chunked twice", 400, request(CHUNKED + b"Transfer-Encoding: chunked\r\n")),
    ("obfuscated coding", 501, request(HOST + b"Transfer-Encoding: xchunked\r\n")),
    ("a list of codings", 501, request(HOST + b"Transfer-Encoding: chunked, identity\r\n")),
    ("coding after a space", 400, request(HOST + b"Transfer-Encoding : chunked\r\n")),
    ("coding on a folded line", 400, request(HOST + b"Transfer-Encoding:\r\n chunked\r\n")),
    ("coding with a vertical tab", 400, request(HOST + b"Transfer-Encoding: \x0bchunked\r\n")),
    ("chunked in HTTP/1.0", 400, request(CHUNKED, start=b"GET / HTTP/1.0\r\n")),
    ("`Host :`", 400, request(b"Host : localhost\r\n")),
    ("no Host", 400, request(b"")),
    ("two Hosts", 400, request(HOST + HOST)),
    ("a Host with a path", 400, request(b"Host: a/b\r\n")),
    ("a Host with a user", 400, request(b"Host: a@b\r\n")),
    ("a folded header", 400, request(HOST + b"X: a\r\n b\r\n")),
    ("a folded first header", 400, request(b" X: a\r\n" + HOST)),
    ("a bare CR in a value", 400, request(HOST + b"X: a\rb\r\n")),
    ("a bare LF as line end", 400, request(b"Host: localhost\n")),
    ("NUL in a value", 400, request(HOST + b"X: a\x00b\r\n")),
    ("NUL in the target", 400, request(HOST, start=b"GET /\x00 HTTP/1.1\r\n")),
    ("no header name", 400, request(HOST + b": a\r\n")),
    ("no colon", 400, request(HOST + b"nonsense\r\n")),
    ("header line too long", 431, request(HOST + b"X: " + b"a" * 8192 + b"\r\n")),
    ("headers too large", 431, request(HOST + (b"X: " + b"a" * 8000 + b"\r\n") * 5)),
    ("101 headers", 431, request(HOST + b"X: a\r\n" * 100)),
    ("target too long", 414, request(HOST, start=b"GET /" + b"a" * 4096 + b" HTTP/1.1\r\n")),
    ("body too large", 413, request(HOST + b"Content-Length: 65537\r\n")),
    ("chunks too large", 413, request(CHUNKED, b"10001\r\n")),
    ("unknown method", 501, request(HOST, start=b"BREW / HTTP/1.1\r\n")),
    ("method in small letters", 501, request(HOST, start=b"get / HTTP/1.1\r\n")),
    ("CONNECT", 501, request(HOST, start=b"CONNECT a:443 HTTP/1.1\r\n")),
    ("HTTP/2 preface", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("HTTP/2.0", 505, request(HOST, start=b"GET / HTTP/2.0\r\n")),
    ("HTTP/0.9", 400, b"GET /\r\n\r\n"),
    ("TLS hello", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("noise", 400, b"\x8f\xa1\x00\xff" * 50),
    ("an empty line first", 400, b"\r\n" + request(HOST)),
    ("a relative target", 400, request(HOST, start=b"GET a HTTP/1.1\r\n")),
    ("a fragment", 400, request(HOST, start=b"GET /#a HTTP/1.1\r\n")),
    ("GET of everything", 400, request(HOST, start=b"GET * HTTP/1.1\r\n")),
    ("unknown expectation", 417, request(HOST + b"Expect: cookies\r\n")),
    ("a trailer", 400, request(CHUNKED, b"0\r\nX: y\r\n\r\n")),
    ("a chunk longer than said", 400, request(CHUNKED, b"1\r\nab\r\n")),
    ("a chunk without an end", 400, request(CHUNKED, b"1\r\naXX0\r\n\r\n")),
    ("a signed chunk size", 400, request(CHUNKED, b"+1\r\na\r\n")),
    ("an endless chunk line", 400, request(CHUNKED, b"1;" + b"a" * 300)),
]  # fmt: skip


@pytest.mark.parametrize(("status", "data"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_it_is_refused(status, data):
    ours = reader()
    ours.feed(data)
    with pytest.raises(Refusal) as refused:
        ours.next()
    assert status == refused.value.status


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (414, b"GET /" + b"a" * 4097),
        (400, b"A" * 65),
        (400, b"\x16"),
        (400, b"GET / HTTP/1.1\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\n"),
        (431, b"GET / HTTP/1.1\r\nX: " + b"a" * 8193),
        (431, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101),
        (431, b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 5),
    ],
)
def test_it_is_refused_before_its_end_has_come(status, data):
    ours = reader()
    ours.feed(data)
    with pytest.raises(Refusal) as refused:
        ours.next()
    assert status == refused.value.status


@pytest.mark.parametrize(
    "lines",
    [
        HOST + b"X: a\r\n" * 99,
        HOST + b"X: " + b"a" * 8189 + b"\r\n",
        HOST + b"Content-Length: 0\r\n",
    ],
)
def test_what_is_just_within_the_limits_is_accepted_byte_by_byte(lines):
    ours, data = reader(), request(lines, start=b"GET /" + b"a" * 4095 + b" HTTP/1.1\r\n")
    for at in range(len(data) - 1):
        ours.feed(data[at : at + 1])
        if at % 97 == 0 or at > len(data) - 9:
            assert ours.next() is None
    ours.feed(data[-1:])
    assert ours.next() is not None


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        ("/a%20b?c=%zz", "/a%20b", "c=%zz", "localhost"),
        ("//a", "//a", "", "localhost"),
        ("/a??", "/a", "?", "localhost"),
        ("http://other:81/a?b", "/a", "b", "other:81"),
        ("HTTP://other", "/", "", "other"),
        ("http://[::1]:80?b", "/", "b", "[::1]:80"),
    ],
)
def test_targets_are_taken_apart_and_their_host_counts(target, path, query, host):
    (got,), _ = read_all(request(HOST, start=f"GET {target} HTTP/1.1\r\n".encode()))
    assert (target, path, query, host) == (got.target, got.path, got.query, got.headers["host"])


def test_options_may_ask_about_the_whole_server():
    (first, second), _ = read_all(
        request(HOST, start=b"OPTIONS * HTTP/1.1\r\n")
        + request(HOST, start=b"OPTIONS http://a HTTP/1.1\r\n")
    )
    assert (first.path, second.path) == ("*", "*")


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "Connection: Keep-Alive, CLOSE\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_keep_alive_is_the_default_of_http_1_1_alone(version, connection, keep_alive):
    (got,), _ = read_all(f"GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n".encode())
    assert keep_alive == got.keep_alive


@pytest.mark.parametrize("sent", ["abc-1._Z", "a" * 128])
def test_a_fitting_request_id_is_kept(sent):
    (got,), _ = read_all(request(HOST + f"X-Request-Id: {sent}\r\n".encode()))
    assert sent == got.request_id


@pytest.mark.parametrize("sent", ["", "a b", "a" * 129, "<x>", "a\r\nX-Request-Id: b"])
def test_other_request_ids_are_replaced_each_by_its_own(sent):
    (one, two), _ = read_all(request(HOST + f"X-Request-Id: {sent}\r\n".encode()) * 2)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", one.request_id)
    assert sent != one.request_id != two.request_id


def test_a_remembered_block_does_not_answer_for_the_other_version():
    ours = reader()
    ours.feed(b"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert ours.next() is not None
    with pytest.raises(Refusal):
        ours.next()


def test_the_cache_of_header_blocks_stays_small():
    heads = HeadCache(LIMITS)
    for number in range(1000):
        heads.head(b"1\r\nHost: a\r\nX: %d" % number)
    heads.head(b"1\r\nHost: a\r\nX: " + b"a" * 4000)
    assert len(heads._heads) <= 256


def test_a_body_is_awaited_and_100_continue_asked_for():
    ours = reader()
    ours.feed(request(HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n"))
    assert ours.next() is None
    assert ours.continue_due
    ours.feed(b"hello")
    assert ours.next().body == b"hello"
    assert not ours.continue_due
    assert not ours.waiting()


def answer_to(data, response, *, keep=True):
    (got, *_), _ = read_all(data)
    return Encoder("Tue, 15 Nov 1994 08:12:31 GMT").encode(response, got, keep=keep)


@given(
    st.integers(200, 599).filter(lambda status: status not in {204, 304}),
    st.binary(max_size=50),
    st.sampled_from([(), (("Allow", "GET"),)]),
    st.booleans(),
)
def test_h11_reads_the_answers(status, body, headers, keep):
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(
        answer_to(request(HOST), Response(status, body, "text/plain", headers), keep=keep)
    )
    head = client.next_event()
    assert status == head.status_code
    fields = dict(head.headers)
    assert fields[b"content-type"] == b"text/plain"
    assert fields[b"date"] == b"Tue, 15 Nov 1994 08:12:31 GMT"
    assert (b"GET" if headers else None) == fields.get(b"allow")
    assert (None if keep else b"close") == fields.get(b"connection")
    got = b""
    while isinstance(event := client.next_event(), h11.Data):
        got += bytes(event.data)
    assert body == got
    assert isinstance(event, h11.EndOfMessage)


def test_head_is_answered_with_the_length_alone():
    data = answer_to(request(HOST, start=b"HEAD / HTTP/1.1\r\n"), Response(200, b"hello"))
    assert b"Content-Length: 5\r\n" in data
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_content_have_no_length(status):
    data = answer_to(request(HOST), Response(status))
    assert b"Content-" not in data
    assert data.endswith(b"\r\n\r\n")


def test_http_1_0_is_told_that_the_connection_stays():
    data = answer_to(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Response(200))
    assert b"\r\nConnection: keep-alive\r\n" in data


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00", "☃"])
def test_a_header_that_would_break_the_answer_is_an_error(value):
    with pytest.raises(ValueError, match="header must be"):
        answer_to(request(HOST), Response(200, headers=(("Location", value),)))


def test_a_new_date_reaches_answers_whose_head_was_remembered():
    encoder, (got, *_) = Encoder("yesterday"), read_all(request(HOST))[0]
    encoder.encode(Response(200), got, keep=True)
    encoder.set_date("today")
    assert b"Date: today\r\n" in encoder.encode(Response(200), got, keep=True)


def test_a_request_shows_itself_in_one_line():
    (got,), _ = read_all(request(HOST))
    assert isinstance(got, Request)
    assert f"Request(GET / {got.request_id})" == repr(got)
