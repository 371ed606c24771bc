"""Recordings played again: moved to now, spaced as recorded, bad lines and all, for ever."""

import json
import threading
from contextlib import closing
from itertools import islice
from time import monotonic_ns

import pytest

from marketflow.adapters.exchange.replay import ReplaySource
from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.application.ports import Instant
from marketflow.domain.catalog import Catalog
from marketflow.domain.errors import FeedLost

RECORDED = 1_746_448_560_000
NOW = 1_795_250_905_682
DECODER = WireDecoder(
    Catalog(["BTCUSDT", "ETHUSDT"], ["exchange1"]), max_clock_skew_ms=60_000, max_line=65_536
)


class RunningClock:
    """Real time, but the wall clock starts at NOW."""

    def __init__(self):
        self._start_ms = monotonic_ns() // 1_000_000

    def now(self):
        mono_ms = monotonic_ns() // 1_000_000
        return Instant(mono_ms, NOW + mono_ms - self._start_ms)

    def follow(self):
        return 0


def line(after_ms, symbol="BTCUSDT"):
    return b'{"symbol":"%s","price":100007.52446808359,"timestamp":%d}\n' % (
        symbol.encode(),
        RECORDED + after_ms,
    )


@pytest.fixture
def replay(tmp_path):
    def make(content, *, speed=1.0):
        file = tmp_path / "feed.ndjson"
        file.write_bytes(content)
        return ReplaySource(
            "exchange1", file, speed=speed, clock=RunningClock(), decode=DECODER.decode
        )

    return make


def first_lines(source, count):
    lines = []
    with closing(source.chunks()) as chunks:
        for chunk in chunks:
            lines += chunk.splitlines(keepends=True)
            if len(lines) >= count:
                return lines[:count]
    raise AssertionError(f"ended after {len(lines)} lines")


def timestamps(lines):
    return [json.loads(one)["timestamp"] for one in lines]


def test_the_first_line_is_now_and_the_others_keep_their_distance(replay):
    lines = first_lines(replay(line(0) + line(0, "ETHUSDT") + line(30) + line(75)), 4)
    first, *others = timestamps(lines)
    assert NOW <= first < NOW + 5_000
    assert [at - first for at in others] == [0, 30, 75]


def test_only_the_timestamp_of_a_line_changes(replay):
    recorded = b'{ "v": 5, "timestamp" : %d, "price": 1.25, "symbol": "ETHUSDT" }\r\n' % RECORDED
    (played,) = first_lines(replay(recorded), 1)
    (at,) = timestamps([played])
    assert played == recorded.replace(b"%d" % RECORDED, b"%d" % at)


def test_speed_divides_the_distances(replay):
    lines = first_lines(replay(line(0) + line(1_000) + line(45_000), speed=1_000), 3)
    first, *others = timestamps(lines)
    assert [at - first for at in others] == [1, 45]


def test_lines_due_together_are_one_chunk_and_none_comes_before_its_time(replay):
    bursts = [line(at) + line(at, "ETHUSDT") for at in (0, 40, 80)]
    source = replay(b"".join(bursts))
    clock = source._clock
    with closing(source.chunks()) as chunks:
        assert next(chunks) == b""
        for _ in bursts:
            found = DECODER.decode(next(chunks), clock.now().wall_ms).by_pair()
            assert {symbol: len(ticks.prices) for symbol, ticks in found.ticks.items()} == {
                "BTCUSDT": 1,
                "ETHUSDT": 1,
            }
            assert found.ticks["BTCUSDT"].timestamps_ms[0] <= clock.now().wall_ms


@pytest.mark.parametrize(
    "bad",
    [
        b"garbage\n",
        b"\n",
        b"\x00\xff\r\r\n",
        b'{"symbol":"BTCUSDT","price":1.5,"timestamp":-5}\n',
        b'{"symbol":"BTCUSDT","price":1.5,"timestamp":0}\n',
        b'{"symbol":"BTCUSDT","price":1.5,"timestamp":"1746448560000"}\n',
        b'{"symbol":"BTCUSDT","price":1.5,"timestamp":1746448560000.5}\n',
        b'{"symbol":"BTCUSDT","price":1.5,"timestamp":999999999999999}\n',
        b'{"symbol":"BTCUSDT","price":1.5}\n',
    ],
    ids=repr,
)
def test_lines_without_a_usable_timestamp_are_passed_on_unchanged(replay, bad):
    data = b""
    with closing(replay(line(0) + bad + line(1)).chunks()) as chunks:
        while data.count(b"\n") < 3:  # they may come in one chunk, or one by one
            data += next(chunks)
    first, middle, last = data.split(b"\n")[:3]
    assert middle + b"\n" == bad
    assert len(timestamps([first, last])) == 2


def test_it_starts_over_at_the_end(replay):
    lines = first_lines(replay(line(0) + line(5, "ETHUSDT")), 6)
    assert [json.loads(one)["symbol"] for one in lines] == ["BTCUSDT", "ETHUSDT"] * 3
    times = timestamps(lines)
    assert times == sorted(times)
    assert times[2] >= times[1] + 50


def test_a_jump_of_more_than_a_minute_is_played_without_a_pause(replay):
    far = 86_400_000
    lines = first_lines(replay(line(0) + line(far) + line(far + 10) + line(3)), 4)
    first, *others = timestamps(lines)
    assert [at - first for at in others] == [0, 10, 10]


def test_a_last_line_without_newline_counts(replay):
    lines = first_lines(replay(line(0) + line(1, "ETHUSDT")[:-1]), 4)
    assert [json.loads(one)["symbol"] for one in lines] == ["BTCUSDT", "ETHUSDT"] * 2
    assert all(one.endswith(b"}\n") for one in lines)


def test_a_carriage_return_within_a_line_ends_nothing(replay):
    odd = line(30).replace(b",", b",\r")
    with closing(replay(line(0) + odd).chunks()) as chunks:
        _, first, second = islice(chunks, 3)
    assert first.count(b"\n") == 1
    assert second[:40] == odd[:40]
    assert second.endswith(b"}\n")


def test_chunks_of_a_backlog_are_bounded(replay):
    source = replay(line(0) * 5_000)
    with closing(source.chunks()) as chunks:
        received = list(islice(chunks, 7))
    assert all(chunk.endswith(b"\n") for chunk in received[1:])
    assert 60_000 < max(map(len, received)) <= 65_536
    assert sum(chunk.count(b"\n") for chunk in received) == 5_000


def test_a_missing_file_is_a_loss_told_in_our_words(tmp_path):
    file = tmp_path / "none.ndjson"
    source = ReplaySource("exchange1", file, speed=1, clock=RunningClock(), decode=DECODER.decode)
    with pytest.raises(FeedLost) as lost:
        next(source.chunks())
    assert str(lost.value) == f"exchange1 at {file}: no such file or directory"


def test_an_empty_file_is_a_loss(replay):
    source = replay(b"")
    with pytest.raises(FeedLost) as lost:
        next(source.chunks())
    assert str(lost.value) == f"exchange1 at {source.address}: the file is empty"


@pytest.mark.parametrize("content", [line(0) + line(50_000), b"garbage\n"], ids=["line", "turn"])
def test_close_wakes_a_wait(replay, content):
    source = replay(content)
    waiting, ended = threading.Event(), threading.Event()

    def play():
        for chunk in source.chunks():
            if chunk:
                waiting.set()
        ended.set()

    thread = threading.Thread(target=play)
    thread.start()
    assert waiting.wait(5)
    source.close()
    thread.join(5)
    assert ended.is_set()
    assert list(source.chunks()) == []


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(tmp_path, speed):
    with pytest.raises(ValueError, match="speed must be a finite number above 0, was"):
        ReplaySource(
            "exchange1", tmp_path, speed=speed, clock=RunningClock(), decode=DECODER.decode
        )
