"""The TCP feed against real sockets: whole lines in, our words when it ends."""

import socket
import struct
import threading
import tracemalloc
from contextlib import closing
from itertools import count

import pytest

from marketflow.adapters.exchange import tcp
from marketflow.adapters.exchange.tcp import TcpSource
from marketflow.domain.errors import FeedLost
from tests.adapters.exchange.feeder import (
    DECODER,
    NOW,
    Exchange,
    closed_port,
    connected,
    line,
    running,
    source_of,
)


@pytest.fixture
def exchange():
    with closing(Exchange()) as one:
        yield one


def read_until(chunks, end):
    data = b""
    while not data.endswith(end):
        data += next(chunks)
    return data


def test_an_empty_chunk_says_that_the_connection_stands(exchange):
    chunks = source_of(exchange).chunks()
    assert next(chunks) == b""
    chunks.close()


def test_a_burst_is_one_chunk(exchange):
    with connected(exchange) as (chunks, client):
        burst = b"".join(map(line, range(5)))
        client.sendall(burst)
        assert next(chunks) == burst


def test_lines_sent_one_by_one_within_moments_are_one_chunk(exchange):
    with connected(exchange, coalesce_s=0.3) as (chunks, client):

        def send():
            for number in range(5):
                client.sendall(line(number))

        with running(send):
            assert next(chunks) == b"".join(map(line, range(5)))


def test_lines_sent_byte_by_byte_arrive_whole(exchange):
    with connected(exchange) as (chunks, client):
        data = line(1) + b"garbage\n\n" + line(2)

        def send():
            for at in range(len(data)):
                client.sendall(data[at : at + 1])

        with running(send):
            received = []
            while b"".join(received) != data:
                received.append(next(chunks))
                assert received[-1].endswith(b"\n")


def test_half_a_line_waits_for_its_end(exchange):
    with connected(exchange) as (chunks, client):
        client.sendall(line(1) + line(2)[:30])
        assert next(chunks) == line(1)
        client.sendall(line(2)[30:])
        assert next(chunks) == line(2)


def test_chunks_of_a_flood_are_bounded_and_lose_nothing(exchange):
    with connected(exchange) as (chunks, client):
        lines = [line(number) for number in range(40_000)]
        with running(client.sendall, b"".join(lines)):
            received = [next(chunks)]
            while not received[-1].endswith(lines[-1]):
                received.append(next(chunks))
    assert b"".join(received) == b"".join(lines)
    assert max(map(len, received)) < 65_536 + 100
    assert all(chunk.endswith(b"\n") for chunk in received)


def test_a_line_without_end_is_cut_counted_once_and_held_nowhere(exchange):
    with connected(exchange) as (chunks, client):
        endless = b"x" * 3_000_000 + b"\n" + line()
        tracemalloc.start()
        try:
            with running(client.sendall, endless):
                data = read_until(chunks, line())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert data == b"x" * 65_536 + b"\n" + line()
    assert DECODER.decode(data, NOW).rejects == {"too_long": 1}
    assert peak < 500_000


def test_a_refused_connection_is_told_in_our_words():
    port = closed_port()
    source = TcpSource(
        "exchange1",
        "127.0.0.1",
        port,
        decode=DECODER.decode,
        connect_timeout_s=5.0,
        stale_after_s=5.0,
        coalesce_s=0.0,
        max_line=65_536,
    )
    with pytest.raises(FeedLost) as lost:
        next(source.chunks())
    assert str(lost.value) == f"exchange1 at 127.0.0.1:{port}: connection refused"
    assert source.address == f"127.0.0.1:{port}"


def test_the_end_of_the_feed_is_a_loss_after_the_last_line(exchange):
    with connected(exchange) as (chunks, client):
        client.sendall(line())
        client.close()
        assert next(chunks) == line()
        with pytest.raises(FeedLost, match=r"^exchange1 at 127.0.0.1:\d+: closed by the exchange$"):
            next(chunks)


def test_a_reset_is_a_loss(exchange):
    with connected(exchange) as (chunks, client):
        client.sendall(line())
        assert next(chunks) == line()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(FeedLost, match=r": connection reset by peer$"):
            next(chunks)


def test_a_connection_nobody_accepts_falls_silent(exchange):
    chunks = source_of(exchange, stale_after_s=0.2).chunks()
    assert next(chunks) == b""
    with pytest.raises(FeedLost, match=r": silent for 0\.2 s$"):
        next(chunks)


def test_a_drip_of_bytes_that_completes_no_line_is_silence(exchange):
    with connected(exchange, stale_after_s=0.3) as (chunks, client):
        lost = threading.Event()

        def drip():
            while not lost.wait(0.01):
                client.sendall(b"x")

        with running(drip):
            try:
                with pytest.raises(FeedLost, match="silent"):
                    next(chunks)
            finally:
                lost.set()


def test_a_flood_that_completes_no_line_is_silence_while_it_lasts(exchange, monkeypatch):
    monkeypatch.setattr(tcp, "monotonic", count(step=3).__next__)
    with connected(exchange, max_line=100) as (chunks, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
        client.sendall(b"x" * 250_000)
        with pytest.raises(FeedLost, match="silent"):
            list(chunks)
        # reset, not closed: there was more to read
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_reader_held_up_for_long_does_not_take_it_for_silence(exchange, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(tcp, "monotonic", lambda: now[0])
    with connected(exchange) as (chunks, client):
        client.sendall(line(1))
        assert next(chunks) == line(1)
        now[0] += 100
        later = threading.Timer(0.1, client.sendall, [line(2)])
        later.start()
        assert next(chunks) == line(2)
        later.join()


def test_a_partial_line_is_never_glued_to_the_next_connection(exchange):
    source = source_of(exchange)
    chunks = source.chunks()
    assert next(chunks) == b""
    with exchange.accept() as client:
        client.sendall(line(1) + line(2)[:30])
    assert next(chunks) == line(1)
    with pytest.raises(FeedLost):
        next(chunks)

    with closing(source.chunks()) as again:
        assert next(again) == b""
        with exchange.accept() as client:
            client.sendall(line(2)[30:] + line(3))
            assert next(again) == line(2)[30:] + line(3)
