"""What clients of an exchange hear."""

import json
import logging
import socket
from itertools import islice, pairwise
from threading import Event, Thread
from time import monotonic, time

import pytest

from fakeexchange.listener import ListenError
from fakeexchange.prices import PAIRS, Playback, bursts
from fakeexchange.server import Server
from fakeexchange.tcp_server import TcpExchange


def heard(connection, count):
    """Return *count* ticks; nothing is asked for."""
    with connection.makefile("rb") as stream:
        return [json.loads(line) for line in islice(stream, count)]


def series(ticks):
    return [(tick["symbol"], tick["price"]) for tick in ticks]


def test_a_client_hears_bursts_unasked_that_share_a_millisecond(serve, connect):
    ticks = heard(connect(serve().listener.port), 20)
    for start in range(0, 20, 5):
        burst = ticks[start : start + 5]
        assert [tick["symbol"] for tick in burst] == list(PAIRS)
        assert len({tick["timestamp"] for tick in burst}) == 1
    assert abs(ticks[-1]["timestamp"] - time() * 1000) < 1000


def test_fifty_lines_a_second_arrive_by_default(serve, connect):
    ticks = heard(connect(serve().listener.port), 80)
    stamps = [tick["timestamp"] for tick in ticks[::5]]
    assert stamps[-1] - stamps[0] == pytest.approx(1500, abs=2)
    gaps = [later - last for last, later in pairwise(stamps)]
    assert gaps == pytest.approx([100] * 15, abs=1)


def test_a_hundred_thousand_lines_a_second_arrive_with_their_own_timestamps(serve, connect):
    began = monotonic()
    ticks = heard(connect(serve(rate=100_000).listener.port), 20_000)
    assert 0.15 < monotonic() - began < 2
    stamps = sorted({tick["timestamp"] for tick in ticks})
    assert stamps == list(range(stamps[0], stamps[-1] + 1))


def test_the_walk_begins_with_the_first_client(serve, connect):
    expected = Playback(bursts(1, seed=5))
    ticks = heard(connect(serve(seed=5, rate=1000).listener.port), 5)
    assert ticks == [
        json.loads(line) for line in expected.take(0, ticks[0]["timestamp"]).splitlines()
    ]


def test_two_clients_hear_the_same_prices_at_the_same_time(serve, connect):
    exchange = serve(rate=500)
    first = connect(exchange.listener.port)
    begun = heard(first, 5)
    second = heard(connect(exchange.listener.port), 50)
    first_ticks = begun + heard(first, 500)
    start = first_ticks.index(second[0])
    assert second == first_ticks[start : start + 50]
    assert start > 0


def test_a_slow_reader_gets_the_whole_backlog_with_stale_timestamps(serve, connect):
    exchange = serve(rate=100_000)
    slow = connect(exchange.listener.port, receive_buffer=4096)
    # 100,000 lines are 7 MB: more than the sockets hold
    quick_ticks = heard(connect(exchange.listener.port), 100_000)
    slow_ticks = heard(slow, 100_000)
    shared = slow_ticks.index(quick_ticks[0])
    assert slow_ticks[shared:] == quick_ticks[: len(slow_ticks) - shared]
    assert slow_ticks[0]["timestamp"] <= quick_ticks[-1]["timestamp"] - 900


def test_a_reader_too_slow_is_dropped_and_the_others_go_on(serve, connect, caplog):
    caplog.set_level(logging.INFO)
    exchange = serve(rate=100_000, backlog_bytes=1_000_000)
    slow = connect(exchange.listener.port, receive_buffer=4096)
    quick = connect(exchange.listener.port)
    with quick.makefile("rb") as stream:
        while "client disconnected" not in caplog.messages:
            assert stream.readline()
        assert len(list(islice(stream, 1000))) == 1000
    with slow.makefile("rb") as stream:
        assert sum(len(line) for line in stream) > 0
    (record,) = [record for record in caplog.records if record.msg == "client disconnected"]
    assert "unread" in record.reason


def test_clients_that_hang_up_or_half_close_disturb_nobody(serve, connect):
    exchange = serve(rate=1000)
    for _ in range(20):
        connect(exchange.listener.port).close()
    half_closed = connect(exchange.listener.port)
    half_closed.shutdown(socket.SHUT_WR)
    assert len(heard(half_closed, 100)) == 100


def test_the_walk_stands_still_while_nobody_listens(serve, connect):
    exchange = serve(rate=1000)
    first = connect(exchange.listener.port)
    heard(first, 5)
    first.close()
    Event().wait(0.3)  # the time that must not show
    began_ms = time() * 1000
    (tick,) = heard(connect(exchange.listener.port), 1)
    assert tick["timestamp"] >= began_ms - 2


def test_stopping_ends_an_idle_server_promptly():
    server = Server([TcpExchange("exchange1", Playback(bursts(1)))])
    server.open()
    thread = Thread(target=server.run)
    thread.start()
    began = monotonic()
    server.stop()
    thread.join()
    assert monotonic() - began < 0.5


def test_it_restarts_on_the_same_port_at_once_while_clients_are_connected(connect):
    port = 0
    for _ in range(3):
        exchange = TcpExchange("exchange1", Playback(bursts(1)), port=port)
        server = Server([exchange])
        server.open()
        port = exchange.listener.port
        thread = Thread(target=server.run)
        thread.start()
        client = connect(port)
        assert len(heard(client, 5)) == 5
        server.stop()
        thread.join()


def test_it_listens_on_all_ports_or_on_none(serve):
    taken = serve().listener.port
    free = TcpExchange("exchange1", Playback(bursts(1)))
    with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{taken}: Address already"):
        Server([free, TcpExchange("exchange2", Playback(bursts(2)), port=taken)]).open()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free.listener.port)) != 0


def test_stopping_before_running_and_twice_is_harmless():
    server = Server([TcpExchange("exchange1", Playback(bursts(1)))])
    server.stop()
    server.open()
    server.run()
    server.stop()
