"""Asking over TLS: who is trusted, and what an exchange does in the handshake."""

import socket
import ssl
import subprocess
from time import monotonic

import pytest

from marketflow.domain.asset import Quote
from marketflow.domain.errors import QuoteFailed
from tests.adapters.exchange.http_exchange import (
    Answers,
    HttpExchange,
    answering,
    ask,
    closing_after,
    response,
    running,
    ticker_of,
)

QUOTE = Quote("exchange1", 100.5, 2.0, 1_795_250_905_000)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", names),
            *("-addext", "keyUsage=digitalSignature,keyCertSign"),
            *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def server_side(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def trusting(certificate):
    context = ssl.create_default_context(cafile=certificate[0])
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does
    return context


def secure(client, exchange, host="127.0.0.1"):
    return ticker_of(client, exchange.port, host=host, scheme="https")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_quotes_come_over_kept_connections(server_side, trusting, host):
    with HttpExchange(answering(), tls=server_side) as exchange, running(tls=trusting) as client:
        ticker = secure(client, exchange, host)
        assert [ask(ticker) for _ in range(20)] == [QUOTE] * 20
        assert exchange.accepted == 1


def test_an_answer_larger_than_a_record_is_read_whole(server_side, trusting):
    body = b'{"price":100.5,"volume":2,"timestamp":1795250905,"x":"%b"}' % (b"x" * 500_000)
    play = answering(response(body))
    with HttpExchange(play, tls=server_side) as exchange, running(tls=trusting) as client:
        assert ask(secure(client, exchange)) == QUOTE


def test_a_kept_connection_that_was_closed_is_replaced(server_side, trusting):
    play = closing_after(response())
    with HttpExchange(play, tls=server_side) as exchange, running(tls=trusting) as client:
        ticker = secure(client, exchange)
        assert [ask(ticker) for _ in range(3)] == [QUOTE] * 3
        assert exchange.accepted == 3


def test_a_stranger_is_not_trusted(server_side):
    with HttpExchange(answering(), tls=server_side) as exchange, running() as client:
        answer = ask(secure(client, exchange))
        assert isinstance(answer, QuoteFailed)
        assert str(answer).startswith("certificate not accepted: self")
        assert exchange.heads == []


def test_a_certificate_for_another_name_is_not_accepted(server_side, trusting):
    with (
        HttpExchange(answering(), host="127.0.0.2", tls=server_side) as exchange,
        running(tls=trusting) as client,
    ):
        answer = ask(secure(client, exchange, host="127.0.0.2"))
        assert str(answer).startswith("certificate not accepted: ip address mismatch")


def test_an_exchange_that_says_nothing_in_the_handshake_is_a_failure_at_the_deadline(trusting):
    with socket.create_server(("127.0.0.1", 0)) as listener, running(tls=trusting) as client:
        ticker = ticker_of(client, listener.getsockname()[1], scheme="https")
        assert str(ask(ticker, within=0.2)) == "no answer within 0.2 s"


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_an_exchange_that_does_not_speak_tls_is_a_failure(trusting, said):
    with socket.create_server(("127.0.0.1", 0)) as listener, running(tls=trusting) as client:
        answers = Answers()
        ticker = ticker_of(client, listener.getsockname()[1], scheme="https")
        ticker.ask("btcusdt", monotonic() + 5, answers.tell)
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(said)
        (answer,) = answers.take()
    assert isinstance(answer, QuoteFailed)
    assert str(answer).startswith("TLS handshake failed: ")
