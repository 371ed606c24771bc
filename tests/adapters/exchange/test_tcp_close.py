"""Ways into a TCP feed and out of it: names and addresses, `close`, nothing left open."""

import gc
import socket
import threading
from contextlib import closing

import psutil
import pytest

from marketflow.domain.errors import FeedLost
from tests.adapters.exchange.feeder import (
    Exchange,
    closed_port,
    connected,
    line,
    running,
    source_of,
    unanswering,
)

LONG = 60.0  # seconds nobody in this file ever waits


@pytest.fixture
def exchange():
    with closing(Exchange()) as one:
        yield one


def collect(source, connected_now, ended):
    for _ in source.chunks():
        connected_now.set()
    ended.set()


def test_close_wakes_a_waiting_reader(exchange):
    source = source_of(exchange, stale_after_s=LONG)
    connected_now, ended = threading.Event(), threading.Event()
    with running(collect, source, connected_now, ended):
        assert connected_now.wait(5)
        source.close()
    assert ended.is_set()


def test_close_wakes_a_reader_that_waits_for_the_rest_of_a_burst(exchange):
    source = source_of(exchange, coalesce_s=LONG)
    connected_now, ended = threading.Event(), threading.Event()
    with running(collect, source, connected_now, ended), exchange.accept() as client:
        client.sendall(line())
        # until the source has noticed the line, closing would find it waiting for the first
        assert not ended.wait(0.1)
        source.close()
    assert ended.is_set()


def test_close_wakes_a_connecting_reader():
    with unanswering() as exchange:
        source = source_of(exchange, connect_timeout_s=LONG)
        connected_now, ended = threading.Event(), threading.Event()
        with running(collect, source, connected_now, ended):
            assert not ended.wait(0.1)
            source.close()
        assert ended.is_set()
        assert not connected_now.is_set()


def test_a_connection_nobody_answers_is_given_up():
    with unanswering() as exchange:
        chunks = source_of(exchange, connect_timeout_s=0.2).chunks()
        with pytest.raises(FeedLost, match=r": no answer within 0\.2 s$"):
            next(chunks)


def test_close_ends_a_flood(exchange):
    source = source_of(exchange)
    chunks = source.chunks()
    assert next(chunks) == b""
    with exchange.accept() as client:
        client.sendall(line() * 1_000)
        assert next(chunks)
        source.close()
        assert list(chunks) == []
        assert list(source.chunks()) == []


@pytest.mark.parametrize("how", ["close", "forget", "lose", "source"])
def test_the_socket_is_closed_however_reading_ends(exchange, how):
    before = psutil.Process().num_fds()
    source = source_of(exchange, stale_after_s=0.1 if how == "lose" else 5.0)
    chunks = source.chunks()
    assert next(chunks) == b""
    with exchange.accept() as client:
        if how == "close":
            chunks.close()
        elif how == "forget":
            del chunks
            gc.collect()
        elif how == "lose":
            with pytest.raises(FeedLost):
                next(chunks)
        else:
            source.close()
            assert list(chunks) == []
        assert client.recv(1) == b""
    assert psutil.Process().num_fds() == before


def test_failed_connections_leave_no_descriptor():
    before = psutil.Process().num_fds()
    with unanswering() as exchange, pytest.raises(FeedLost):
        next(source_of(exchange, connect_timeout_s=0.05).chunks())
    assert psutil.Process().num_fds() == before


def test_host_names_and_ipv6_work(exchange):
    exchange.host = "localhost"
    with connected(exchange) as (chunks, client):
        client.sendall(line())
        assert next(chunks) == line()
    try:
        other = Exchange("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with closing(other), connected(other) as (chunks, client):
        client.sendall(line())
        assert next(chunks) == line()
    assert source_of(other).address == f"[::1]:{other.port}"


def test_the_next_address_of_a_name_is_tried(exchange, monkeypatch):
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    targets = [("127.0.0.1", closed_port()), ("127.0.0.1", exchange.port)]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(*kind, target) for target in targets]
    )
    with connected(exchange) as (chunks, client):
        client.sendall(line())
        assert next(chunks) == line()


def test_a_name_that_cannot_be_resolved_is_a_loss(exchange, monkeypatch):
    exchange.host = "a..b"
    with pytest.raises(FeedLost, match=r"^exchange1 at a\.\.b:\d+: not a host name$"):
        next(source_of(exchange).chunks())

    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    exchange.host = "exchange.example"
    with pytest.raises(FeedLost, match=r": name or service not known$"):
        next(source_of(exchange).chunks())


def test_a_socket_that_reached_itself_counts_as_refused(exchange):
    source = source_of(exchange)
    with socket.socket() as sock, source._alarm() as alarm:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            source._reach(sock, sock.getsockname(), alarm)
