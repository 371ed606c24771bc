"""Compression, tags and other origins: what the router does to every answer."""

import gzip
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from marketflow.adapters.web.delivery import accepts_gzip
from marketflow.adapters.web.headers import HeadCache
from marketflow.adapters.web.http1 import Reader
from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.router import Later, Parked, Router
from marketflow.domain.errors import NoPrices

LONG = b"candles, " * 1_000
TAGGED = (("Cache-Control", "max-age=60"), ("ETag", '"abc"'), ("Vary", "Accept"))


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def ask(pool):
    """Ask a router with some routes; headers as keyword arguments."""
    parked: Future[str] = Future()
    parked.set_result("done")
    failed: Future[str] = Future()
    failed.set_exception(NoPrices("none yet"))
    table = {
        "GET /candles": lambda _: Response(200, LONG),
        "GET /closed": lambda _: Response(200, LONG, headers=TAGGED),
        "GET /short": lambda _: Response(200, b"short"),
        "GET /prices/latest": lambda _: Response(200, LONG),
        "GET /later": lambda _: Later(lambda: Response(200, LONG)),
        "GET /parked": lambda _: Parked(parked, lambda text: Response(200, text.encode())),
        "GET /failed": lambda _: Parked(failed, lambda text: Response(200, text.encode())),
        "POST /switch": lambda _: Response(200, b"{}"),
    }
    router = Router(table, pool=pool, origins=["https://charts.example"])

    def ask(path, method="GET", **headers):
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        text = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""])
        reader = Reader(HeadCache(Limits()), Limits())
        reader.feed(text.encode())
        answer = router(reader.next())
        return answer.result(5) if isinstance(answer, Future) else answer

    return ask


def header(response, name):
    found = [value for field, value in response.headers if field == name]
    assert len(found) < 2
    return found[0] if found else None


@pytest.mark.parametrize("path", ["/candles", "/later"])
def test_a_long_answer_is_compressed_for_whoever_accepts_it(ask, path):
    plain, packed = ask(path), ask(path, Accept_Encoding="br, gzip;q=0.8")
    assert plain.body == LONG
    assert header(plain, "Content-Encoding") is None
    assert header(packed, "Content-Encoding") == "gzip"
    assert gzip.decompress(packed.body) == LONG
    assert header(plain, "Vary") == header(packed, "Vary") == "Accept-Encoding, Origin"


@pytest.mark.parametrize("path", ["/short", "/prices/latest"])
def test_short_answers_and_live_prices_are_not_compressed(ask, path):
    answer = ask(path, Accept_Encoding="gzip")
    assert header(answer, "Content-Encoding") is None
    assert header(answer, "Vary") == "Origin"


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        ("gzip", True),
        ("GZIP ; q=0.5", True),
        ("deflate, gzip;q=1.0, *;q=0", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("x-gzipped", False),
    ],
)
def test_what_a_client_accepts_is_read_as_the_rfc_says(accept, accepted):
    assert accepts_gzip(accept) == accepted


def test_a_client_that_has_the_answer_is_told_so(ask):
    fresh = ask("/closed")
    known = ask("/closed", If_None_Match='"other", W/"abc"')
    assert (fresh.status, header(fresh, "ETag")) == (200, '"abc"')
    assert (known.status, known.body) == (304, b"")
    for name in ("ETag", "Vary", "Cache-Control"):
        assert header(known, name) == header(fresh, name)
    assert ask("/closed", If_None_Match="*").status == 304
    assert ask("/closed", If_None_Match='"other"').status == 200
    assert ask("/candles", If_None_Match="*").status == 200


def test_the_tags_of_compressed_and_plain_answers_differ(ask):
    packed = ask("/closed", Accept_Encoding="gzip")
    assert header(packed, "ETag") == '"abc-gzip"'
    assert ask("/closed", Accept_Encoding="gzip", If_None_Match='"abc-gzip"').status == 304
    assert ask("/closed", Accept_Encoding="gzip", If_None_Match='"abc"').status == 200
    assert ask("/closed", If_None_Match='"abc-gzip"').status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/short", 200), ("/later", 200), ("/parked", 200), ("/failed", 404), ("/nowhere", 404)],
)
def test_a_listed_origin_may_read_answers_and_errors(ask, path, status):
    answer = ask(path, Origin="https://charts.example")
    assert answer.status == status
    assert header(answer, "Access-Control-Allow-Origin") == "https://charts.example"
    assert header(answer, "Access-Control-Expose-Headers") == "Link, ETag, X-Request-Id"
    assert "Origin" in header(answer, "Vary")


def test_another_origin_may_not(ask):
    answer = ask("/short", Origin="https://other.example")
    assert header(answer, "Access-Control-Allow-Origin") is None


def test_a_preflight_allows_reading_alone(ask):
    asked = {"Origin": "https://charts.example", "Access_Control_Request_Method": "GET"}
    answer = ask("/short", "OPTIONS", **asked)
    assert answer.status == 204
    assert header(answer, "Access-Control-Allow-Methods") == "GET, HEAD"
    assert header(ask("/short", "OPTIONS"), "Access-Control-Allow-Methods") is None


def test_what_a_parked_question_comes_to_is_the_answer(ask):
    assert ask("/parked").body == b"done"
    assert ask("/failed").status == 404
