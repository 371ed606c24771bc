"""What every source of ticks promises, whatever it reads from."""

import gc
import socket
import threading
from contextlib import closing, suppress
from itertools import islice
from time import monotonic_ns, time_ns

import pytest

from marketflow.adapters.exchange.generated import GeneratedSource
from marketflow.adapters.exchange.replay import ReplaySource
from marketflow.adapters.exchange.tcp import TcpSource
from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.application.ports import Instant
from marketflow.domain.catalog import Catalog

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
DECODER = WireDecoder(Catalog(SYMBOLS, ["exchange1"]), max_clock_skew_ms=60_000, max_line=65_536)


class SystemTime:
    """Both clocks as they are."""

    def now(self):
        return Instant(monotonic_ns() // 1_000_000, time_ns() // 1_000_000)

    def follow(self):
        return 0


def burst():
    now_ms = time_ns() // 1_000_000
    return b"".join(
        b'{"symbol":"%s","price":3050.5,"timestamp":%d}\n' % (symbol.encode(), now_ms)
        for symbol in SYMBOLS
    )


def serve(listener, stop):
    # one burst every ten milliseconds to whoever is connected
    clients = []
    listener.setblocking(False)
    while not stop.wait(0.01):
        with suppress(BlockingIOError):
            clients.append(listener.accept()[0])
        for client in list(clients):
            try:
                client.send(burst())
            except OSError:
                clients.remove(client)
                client.close()
    for client in clients:
        client.close()


@pytest.fixture
def tcp():
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener, stop))
        server.start()
        yield TcpSource(
            "exchange1",
            *listener.getsockname(),
            decode=DECODER.decode,
            connect_timeout_s=5.0,
            stale_after_s=5.0,
            coalesce_s=0.002,
            max_line=65_536,
        )
        stop.set()
        server.join()


@pytest.fixture
def replay(tmp_path):
    file = tmp_path / "feed.ndjson"
    file.write_bytes(burst() * 3)
    return ReplaySource("exchange1", file, speed=1, clock=SystemTime(), decode=DECODER.decode)


@pytest.fixture
def generated():
    return GeneratedSource("exchange1", SYMBOLS, decode=DECODER.decode, clock=SystemTime())


@pytest.fixture(params=["tcp", "replay", "generated"])
def source(request):
    one = request.getfixturevalue(request.param)
    yield one
    one.close()


def test_it_says_whose_ticks_come_from_where(source):
    assert source.exchange == "exchange1"
    assert source.address


def test_the_first_chunk_is_empty_and_says_that_the_feed_stands(source):
    with closing(source.chunks()) as chunks:
        assert next(chunks) == b""


def test_chunks_are_whole_lines_that_decode_into_known_pairs(source):
    with closing(source.chunks()) as chunks:
        received = list(islice(chunks, 4))
    assert all(chunk.endswith(b"\n") for chunk in received[1:])
    now_ms = time_ns() // 1_000_000
    for chunk in received[1:]:
        found = source.decode(chunk, now_ms).by_pair()
        assert found.lines == chunk.count(b"\n")
        assert found.rejects == {}
        assert set(found.ticks) == set(SYMBOLS)
        for ticks in found.ticks.values():
            assert all(now_ms - 5_000 < at_ms <= now_ms for at_ms in ticks.timestamps_ms)


def test_decoding_never_raises(source):
    found = source.decode(b"garbage\n\xff\x00\n[[[\n", 1)
    assert (found.lines, sum(found.rejects.values())) == (3, 3)
    assert source.decode(b"", 1).lines == 0


def test_close_from_another_thread_ends_the_chunks(source):
    flowing, ended = threading.Event(), threading.Event()

    def read():
        for chunk in source.chunks():
            if chunk:
                flowing.set()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert flowing.wait(5)
    source.close()
    reader.join(5)
    assert ended.is_set()


def test_a_closed_source_stays_closed(source):
    source.close()
    source.close()
    assert list(source.chunks()) == []


def test_chunks_may_be_asked_for_again_after_they_were_abandoned(source):
    for _ in range(2):
        chunks = source.chunks()
        assert next(chunks) == b""
        assert next(chunks).endswith(b"\n")
        del chunks
        gc.collect()
