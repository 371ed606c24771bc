"""The HTTP ticker over real sockets: documented exchanges by configuration, and what can fail."""

import json
import threading
from contextlib import suppress
from time import monotonic

import pytest

from marketflow.adapters.exchange.http_pool import PoolLimits
from marketflow.adapters.exchange.http_ticker import check_headers
from marketflow.adapters.exchange.quote_fields import QuoteFields
from marketflow.domain.asset import Quote
from marketflow.domain.errors import NotAsked, NotListed, QuoteFailed
from tests.adapters.exchange.feeder import closed_port, unanswering
from tests.adapters.exchange.http_exchange import (
    BODY,
    NOW_MS,
    Answers,
    HttpExchange,
    answering,
    ask,
    closing_after,
    hanging,
    resetting,
    response,
    running,
    ticker_of,
)

QUOTE = Quote("exchange1", 100.5, 2.0, 1_795_250_905_000)
BINANCE = {
    "symbol": "BNBBTC", "priceChange": "-94.99999800", "priceChangePercent": "-95.960",
    "weightedAvgPrice": "0.29628482", "prevClosePrice": "0.10002000", "lastPrice": "4.00000200",
    "lastQty": "200.00000000", "bidPrice": "4.00000000", "bidQty": "100.00000000",
    "askPrice": "4.00000200", "askQty": "100.00000000", "openPrice": "99.00000000",
    "highPrice": "100.00000000", "lowPrice": "0.10000000", "volume": "8913.30000000",
    "quoteVolume": "15.30000000", "openTime": 1499783499040, "closeTime": 1499869899040,
    "firstId": 28385, "lastId": 28460, "count": 76,
}  # fmt: skip
COINBASE = {
    "ask": "6267.71", "bid": "6265.15", "volume": "53602.03940154", "trade_id": 86326522,
    "price": "6268.48", "size": "0.00698254", "time": "2020-03-20T00:22:57.833897Z",
    "rfq_volume": "123.122",
}  # fmt: skip
KRAKEN = {
    "error": [],
    "result": {
        "XXBTZUSD": {
            "a": ["30300.10000", "1", "1.000"], "b": ["30300.00000", "1", "1.000"],
            "c": ["30303.20000", "0.00067643"], "v": ["4083.67001100", "4412.73601799"],
            "p": ["30706.77771", "30689.13205"], "t": [34619, 38907],
            "l": ["29868.30000", "29868.30000"], "h": ["31631.00000", "31631.00000"],
            "o": "30502.80000",
        }
    },
}  # fmt: skip


@pytest.fixture
def client():
    with running() as one:
        yield one


def told_by(client, play, **settings):
    with HttpExchange(play) as exchange:
        return ask(ticker_of(client, exchange.port, **settings))


def test_a_quote_is_asked_for_and_told(client):
    with HttpExchange(answering()) as exchange:
        ticker = ticker_of(client, exchange.port)
        assert ask(ticker) == QUOTE
        assert ticker.exchange == "exchange1"
        assert exchange.heads[0].split(b"\r\n") == [
            b"GET /ticker/btcusdt HTTP/1.1",
            b"Host: 127.0.0.1:%d" % exchange.port,
            b"User-Agent: marketflow",
            b"Accept: application/json",
            b"Accept-Encoding: identity",
        ]


@pytest.mark.parametrize(
    ("document", "settings", "asset", "target", "quote"),
    [
        (
            BINANCE,
            {
                "path": "/api/v3/ticker/24hr?symbol={SYMBOL}",
                "fields": QuoteFields(price="lastPrice", timestamp="closeTime"),
            },
            "bnbbtc",
            "/api/v3/ticker/24hr?symbol=BNBBTC",
            Quote("exchange1", 4.000002, 8913.3, 1_499_869_899_040),
        ),
        (
            COINBASE,
            {"path": "/products/{BASE}-{QUOTE}/ticker", "fields": QuoteFields(timestamp="time")},
            "btcusd",
            "/products/BTC-USD/ticker",
            Quote("exchange1", 6268.48, 53602.03940154, 1_584_663_777_833),
        ),
        (
            KRAKEN,
            {
                "path": "/0/public/Ticker?pair={SYMBOL}",
                "fields": QuoteFields("result.*.c.0", "result.*.v.1", "", "error"),
                "symbols": {"BTCUSD": "XBTUSD"},
            },
            "btcusd",
            "/0/public/Ticker?pair=XBTUSD",
            Quote("exchange1", 30303.2, 4412.73601799, NOW_MS),
        ),
    ],
)  # fmt: skip
def test_documented_tickers_are_read_by_configuration_alone(
    client, document, settings, asset, target, quote
):
    with HttpExchange(answering(response(json.dumps(document).encode()))) as exchange:
        assert ask(ticker_of(client, exchange.port, **settings), asset) == quote
        assert exchange.targets == [target]


@pytest.mark.parametrize(
    ("status", "body", "fields"),
    [
        (400, b'{"code":-1121,"msg":"Invalid symbol."}', QuoteFields()),
        (404, b'{"message":"NotFound"}', QuoteFields()),
        (200, b'{"error":["EQuery:Unknown asset pair"]}', QuoteFields(error="error")),
    ],
)
def test_unknown_assets_are_not_listed(client, status, body, fields):
    answer = told_by(client, answering(response(body, status)), fields=fields)
    assert isinstance(answer, NotListed)


def test_an_asset_without_two_currencies_is_not_listed_where_they_are_needed(client):
    with HttpExchange(answering()) as exchange:
        ticker = ticker_of(client, exchange.port, "/{BASE}-{QUOTE}")
        assert isinstance(ask(ticker, "symbol10000"), NotListed)
        assert exchange.accepted == 0


@pytest.mark.parametrize("status", [201, 204, 301, 302, 401, 403, 429, 500, 503])
def test_other_statuses_are_failures_that_name_them(client, status):
    data = response(b"", status, headers=b"Location: /elsewhere\r\n")
    answer = told_by(client, answering(data))
    assert isinstance(answer, QuoteFailed)
    assert str(status) in str(answer)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (response(b"<html>"), "answer must be JSON"),
        (response(b'{"price":-1}'), "price must be a number above 0"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answer must be HTTP/1.0 or 1.1"),
        (response()[:-1], "connection was closed before the answer was whole"),
        (response()[:20], "connection was closed before the answer was whole"),
        (b"", "connection was closed before the answer was whole"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000_000, "at most 1048576 bytes"),
    ],
)
def test_garbage_is_a_failure_that_says_what_was_wrong(client, data, reason):
    answer = told_by(client, closing_after(data))
    assert isinstance(answer, QuoteFailed)
    assert reason in str(answer)


def test_a_body_that_never_ends_is_cut_off_at_its_limit(client):
    def endless(sock, head):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                sock.sendall(b" " * 65_536)
        return False

    assert "at most 1048576 bytes" in str(told_by(client, endless))


def test_a_reset_in_the_middle_of_an_answer_is_a_failure(client):
    def play(sock, head):
        sock.sendall(response()[:30])
        return resetting(sock)

    answer = told_by(client, play)
    assert isinstance(answer, QuoteFailed)
    assert str(answer) == "connection reset by peer"


def test_an_answer_that_ends_with_the_connection_is_read(client):
    assert told_by(client, closing_after(b"HTTP/1.0 200 OK\r\n\r\n" + BODY)) == QUOTE


def test_a_refused_connection_is_a_failure_at_once(client):
    started = monotonic()
    answer = ask(ticker_of(client, closed_port()))
    assert isinstance(answer, QuoteFailed)
    assert str(answer) == "connection refused"
    assert monotonic() - started < 2


def test_a_thousand_refused_asks_are_all_told(client):
    ticker, answers = ticker_of(client, closed_port()), Answers()
    for _ in range(1_000):
        ticker.ask("btcusdt", monotonic() + 10, answers.tell)
    assert {str(answer) for answer in answers.take(1_000)} == {"connection refused"}


def dripping(sock, head):
    with suppress(OSError):
        for byte in response():
            sock.sendall(bytes([byte]))
            if DRIP_STOPS.wait(0.05):
                break
    return False


DRIP_STOPS = threading.Event()


@pytest.mark.parametrize("play", [hanging, dripping])
def test_the_deadline_is_kept_and_others_are_not_affected(client, play):
    with HttpExchange(play) as slow, HttpExchange(answering()) as quick:
        one, other = ticker_of(client, slow.port), ticker_of(client, quick.port)
        late, answers = Answers(), Answers()
        deadline = monotonic() + 0.5
        for _ in range(40):  # more than there are connections
            one.ask("btcusdt", deadline, late.tell)
        for _ in range(40):
            other.ask("btcusdt", monotonic() + 5, answers.tell)
        assert answers.take(40) == [QUOTE] * 40
        assert monotonic() < deadline
        for answer, moment in late.take_timed(40):
            assert (type(answer), str(answer)) == (QuoteFailed, "no answer within 0.5 s")
            assert deadline <= moment < deadline + 0.1
        assert slow.accepted == 16
        for _ in range(16):  # no late answer can be taken for another's
            assert slow.gone.acquire(timeout=5)


def test_a_server_that_never_accepts_is_a_failure_at_the_deadline(client):
    with unanswering() as one:
        answer = ask(ticker_of(client, one.port), within=0.2)
    assert str(answer) == "no answer within 0.2 s"


def test_a_half_open_connection_costs_its_ask_and_the_next_gets_a_new_one(client):
    silent = threading.Event()

    def play(sock, head):
        if silent.is_set() and exchange.accepted == 2:
            return hanging(sock, head)
        sock.sendall(response())
        return True

    with HttpExchange(play) as exchange:
        ticker, answers = ticker_of(client, exchange.port), Answers()
        for _ in range(2):
            ticker.ask("btcusdt", monotonic() + 5, answers.tell)
        assert answers.take(2) == [QUOTE, QUOTE]
        assert exchange.accepted == 2
        silent.set()
        assert isinstance(ask(ticker, within=0.2), QuoteFailed)
        assert ask(ticker) == QUOTE  # though another was idle: it could lead nowhere too
        assert exchange.accepted == 3


def test_configured_headers_are_sent_and_override_ours(client):
    headers = {"X-Key": "secret", "user-agent": "me/1", "HOST": "api.example"}
    with HttpExchange(answering()) as exchange:
        ask(ticker_of(client, exchange.port, headers=headers))
        lines = exchange.heads[0].split(b"\r\n")[1:]
    assert sorted(lines) == [
        b"Accept-Encoding: identity",
        b"Accept: application/json",
        b"HOST: api.example",
        b"X-Key: secret",
        b"user-agent: me/1",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": "secret\r\nX: y"},
        {"X-Key": "secret\n"},
        {"X-Key": "secretä"},
        {"X Key": "secret"},
        {"": "secret"},
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
    ],
)
def test_headers_that_would_change_the_request_are_refused_without_being_shown(headers):
    with pytest.raises(ValueError, match=r"headers.* must") as refused:
        check_headers(headers)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "body", [b"forbidden: hunter2-hunter2", b'{"price": "hunter2-hunter2"}', b'["hunter2-hunter2"']
)
@pytest.mark.parametrize("value", ["hunter2-hunter2", "Bearer hunter2-hunter2"])
def test_a_header_that_the_exchange_repeats_is_not_shown(client, body, value):
    with HttpExchange(answering(response(body))) as exchange:
        answer = ask(ticker_of(client, exchange.port, headers={"Authorization": value}))
    assert isinstance(answer, QuoteFailed)
    assert str(answer) == "answer repeats one of our headers, and is not shown"


def test_a_closed_ticker_asks_nobody_and_says_so(client):
    with HttpExchange(hanging) as exchange, HttpExchange(answering()) as other:
        ticker, answers = ticker_of(client, exchange.port), Answers()
        for _ in range(40):
            ticker.ask("btcusdt", monotonic() + 60, answers.tell)
        ticker.close()
        assert {type(answer) for answer in answers.take(40)} == {NotAsked}
        assert isinstance(ask(ticker), NotAsked)
        ticker.close()
        for _ in range(exchange.accepted):
            assert exchange.gone.acquire(timeout=5)
        assert ask(ticker_of(client, other.port)) == QUOTE  # of the same client


def test_what_waits_when_the_client_closes_is_told_not_asked():
    answers = Answers()
    with HttpExchange(hanging) as exchange:
        with running() as client:
            ticker = ticker_of(client, exchange.port)
            for _ in range(20):
                ticker.ask("btcusdt", monotonic() + 60, answers.tell)
        ticker.ask("btcusdt", monotonic() + 60, answers.tell)
        assert {type(answer) for answer in answers.take(21)} == {NotAsked}


def test_a_host_name_is_looked_up(client):
    with HttpExchange(answering()) as exchange:
        assert ask(ticker_of(client, exchange.port, host="localhost")) == QUOTE


def test_a_host_name_that_does_not_exist_is_a_failure(client):
    answer = ask(ticker_of(client, 80, host="nowhere.invalid"))
    assert isinstance(answer, QuoteFailed)
    assert str(answer).startswith("host name not found: ")


def test_an_address_of_version_6_is_asked(client):
    with HttpExchange(answering(), host="::1") as exchange:
        assert ask(ticker_of(client, exchange.port, host="::1")) == QUOTE
        assert b"Host: [::1]:%d\r\n" % exchange.port in exchange.heads[0]


def test_every_ask_is_told_once_whatever_the_exchange_does():
    turn = iter(range(10_000))

    def play(sock, head):
        match next(turn) % 6:
            case 0:
                return resetting(sock)
            case 1:
                sock.sendall(response(headers=b"Connection: close\r\n"))
                return False
            case 2:
                return closing_after(response()[:50])(sock, head)
            case 3:
                return hanging(sock, head)
        sock.sendall(response())
        return True

    with HttpExchange(play) as exchange, running(PoolLimits(connections=4)) as client:
        ticker, answers = ticker_of(client, exchange.port), Answers()
        for _ in range(300):
            ticker.ask("btcusdt", monotonic() + 0.3, answers.tell)
        told = answers.take(300)
        assert QUOTE in told
        assert {type(answer) for answer in told} <= {Quote, QuoteFailed, NotAsked}
    assert answers.none_left()
    assert exchange.most_open <= 6  # 4, and what the exchange itself has not yet closed
