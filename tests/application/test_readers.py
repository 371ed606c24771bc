"""A question sees the prices as they stood between two batches, whatever the collector does."""

import sys
import threading
from time import monotonic

import pytest

from marketflow.domain.period import Period
from tests.application.rig import Rig
from tests.fake_sources import line

BATCHES = 400
TICKS = 5  # of each batch: 1, 2, 3, … in turn on two exchanges
ANY = Period("5m", 300_000)


@pytest.fixture
def hasty_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def expected_of(count):
    """Return (mean, highest) after *count* ticks: the first exchange is never behind."""
    batches = count // TICKS
    first, second = TICKS * (batches - batches // 2), TICKS * (batches // 2)
    total = (first * (first + 1) + second * (second + 1)) / 2
    return total / count, first


@pytest.mark.usefixtures("hasty_threads")
def test_answers_stay_consistent_while_the_collector_writes():
    rig, wrong, seen = Rig(), [], set()
    written, reading = threading.Event(), threading.Event()
    feeds = rig.feed("exchange1"), rig.feed("exchange2")

    def read():
        while not written.is_set() or not seen:
            highest = rig.prices.extreme("BTCUSDT", None, ANY, highest=True)
            lowest = rig.prices.extreme("BTCUSDT", None, ANY, highest=False)
            average = rig.prices.average("BTCUSDT", None, ANY)
            one = rig.prices.extreme("BTCUSDT", "exchange1", ANY, highest=True)
            seen.add(average.ticks)
            reading.set()
            if (
                {highest.ticks % TICKS, average.ticks % TICKS, one.ticks % TICKS} != {0}
                or highest.price != expected_of(highest.ticks)[1]
                or abs(average.price - expected_of(average.ticks)[0]) > 1e-9 * average.price
                or one.price != one.ticks
                or lowest.price != 1
            ):
                wrong.append((highest, average, one, lowest))

    reader = threading.Thread(target=read, name="reader")
    number, deadline = 0, monotonic() + 5
    while number < BATCHES or (len(seen) < 20 and monotonic() < deadline):
        rig.clock.advance(3)
        first, at_ms = number // 2 * TICKS + 1, rig.clock.now().wall_ms
        lines = [
            line("BTCUSDT", first + i, at_ms - TICKS + i)  # each a row of its own
            for i in range(TICKS)
        ]
        rig.receive(feeds[number % 2].hear(b"".join(lines)))
        if number == 0:
            reader.start()
            reading.wait(5)
        number += 1
    written.set()
    reader.join(5)
    assert not wrong
    assert len(seen) >= 20, "the reader must have had its turns in between"
