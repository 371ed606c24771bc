"""The source of test mode: the wire's lines, paced, ended at once."""

import json
from itertools import islice
from threading import Event, Thread
from time import monotonic, time

import pytest

from fakeexchange.prices import PAIRS, START_PRICES
from marketflow.adapters.exchange.generated import GeneratedSource
from marketflow.application.ports import Instant, TickSource
from marketflow.domain.tick import Decoded


class SystemClock:
    def now(self):
        return Instant(int(monotonic() * 1000), int(time() * 1000))

    def follow(self):
        return 0


class JumpingClock:
    """Jumps ahead by the next of *steps* milliseconds whenever it is asked."""

    def __init__(self, *steps):
        self._steps = iter(steps)
        self._now_ms = 0

    def now(self):
        self._now_ms += next(self._steps)
        return Instant(self._now_ms, self._now_ms + 1_795_248_000_000)

    def follow(self):
        return 0


def count_lines(chunk, received_ms):
    return Decoded(lines=chunk.count(b"\n"), ahead_ms=received_ms)


def source(name="exchange1", *, clock=None, **options) -> GeneratedSource:
    return GeneratedSource(name, PAIRS, decode=count_lines, clock=clock or SystemClock(), **options)


def ticks(generated, count):
    lines = (line for chunk in generated.chunks() for line in chunk.splitlines())
    return [json.loads(line) for line in islice(lines, count)]


def test_it_is_a_tick_source_that_decodes_with_the_wires_decoder():
    generated: TickSource = source("exchange2")
    assert (generated.exchange, generated.address) == ("exchange2", "generated")
    assert generated.decode(b"a\nb\n", 7) == Decoded(lines=2, ahead_ms=7)


def test_chunks_are_whole_bursts_in_the_wires_form():
    generated = source(rate=1000)
    chunks = generated.chunks()
    assert next(chunks) == b""
    for chunk in islice(chunks, 10):
        lines = chunk.splitlines()
        assert chunk.endswith(b"\n")
        assert [json.loads(line)["symbol"] for line in lines] == list(PAIRS) * (len(lines) // 5)


def test_timestamps_are_now_and_fifty_lines_come_in_a_second():
    heard = ticks(source(), 55)
    stamps = [tick["timestamp"] for tick in heard[::5]]
    assert abs(stamps[-1] - time() * 1000) < 1000
    assert stamps[-1] - stamps[0] == pytest.approx(1000, abs=2)


@pytest.mark.parametrize(("name", "number"), [("exchange1", 1), ("Exchange2", 2), ("exchange6", 3)])
def test_start_prices_are_those_of_the_original_exchange(name, number):
    for tick in ticks(source(name), 5):
        start = START_PRICES[number - 1][tick["symbol"]]
        assert tick["price"] == pytest.approx(start, rel=0.0101)


def test_another_name_has_prices_of_its_own_and_keeps_them():
    first, again, other = (
        ticks(source(name, seed=1), 5) for name in ("binance", "BINANCE", "kraken")
    )
    assert [tick["price"] for tick in first] == [tick["price"] for tick in again]
    assert [tick["price"] for tick in first] != [tick["price"] for tick in other]


def test_the_same_seed_gives_the_same_prices():
    first, second = (
        [tick["price"] for tick in ticks(source(seed=4, rate=2000), 100)] for _ in range(2)
    )
    assert first == second


def test_neither_at_the_start_nor_after_a_long_stall_of_the_reader_is_there_a_flood():
    clock = JumpingClock(500, 0, 60_000, 100, 0)
    chunks = source(clock=clock).chunks()
    assert [next(chunks).count(b"\n") for _ in range(4)] == [0, 5, 5, 5]


def test_close_ends_chunks_within_milliseconds_from_another_thread():
    generated = source(rate=0.1)  # the second burst is due in 50 s
    began, took = Event(), []

    def listen():
        for _ in generated.chunks():
            began.set()
        took.append(monotonic())

    listener = Thread(target=listen)
    listener.start()
    assert began.wait(5)
    closed_at = monotonic()
    generated.close()
    listener.join(5)
    assert took
    assert took[0] - closed_at < 0.25
    assert list(generated.chunks()) == []


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_must_be_positive(rate):
    with pytest.raises(ValueError, match="rate must be above 0"):
        source(rate=rate)


def test_symbols_must_not_be_empty():
    with pytest.raises(ValueError, match="symbols must be at least one"):
        GeneratedSource("exchange1", [], decode=count_lines, clock=SystemClock())
