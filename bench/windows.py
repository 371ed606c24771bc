"""`python -m bench.windows`: questions to full windows, timed, and compared with brute force.

Prints JSON; a process of its own, so that memory is measured from nothing.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from itertools import islice
from math import fsum
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.command import output_of
from bench.session import Session
from fakeexchange.prices import PAIRS, walk
from marketflow.domain.window import PriceWindow

GROUP = "Window queries, a full window of 300,000 rows"
DURATIONS_MS = (1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 300_000)
_SPAN_MS = 300_000
_ROWS = 320_000  # one for each millisecond: no rate can make more; and some that expire
_SERIES = 4
_CHECKS = 600
_REPEATS = 20_000
_START = 10_000_000

Column = list[float]


def run(session: Session) -> None:
    """Measure in a fresh process each round."""
    found = []
    for number in session.each_round():
        output = output_of("windows", [sys.executable, "-m", "bench.windows"])
        found.append(json.loads(output))
        session.tell(f"round {number}, slowest question", found[-1]["slowest_us"], "us")
    add = session.report.add
    for key, name, unit, most in (
        ("slowest_us", "a question to a series, slowest kind and duration", "us", 3),
        ("ratio", "5 m / 1 s, worst kind of question", "", 1.3),
        ("different", f"extremes, counts, latest that differ, of {_CHECKS} durations", "", 0),
        ("mean_error", "mean, largest relative error", "", 1e-9),
        ("mb", "memory of a series", "MB", 10),
    ):
        add(GROUP, name, [some[key] for some in found], unit=unit, at_most=most)


def measure() -> dict[str, float]:
    """Fill windows, then ask them everything."""
    columns = [list(islice(walk(PAIRS[i], 1, seed=i), _ROWS)) for i in range(_SERIES)]
    before = _rss_bytes()
    windows = [_filled(prices) for prices in columns]
    mb = (_rss_bytes() - before) / _SERIES / 2**20
    last = _START + _ROWS - 1
    times = {
        name: [_time_us(ask, last - duration) for duration in DURATIONS_MS]
        for name, ask in _questions(windows[0]).items()
    }
    different, mean_error = _compare(windows[0], columns[0])
    return {
        "slowest_us": max(map(max, times.values())),
        "ratio": max(some[-1] / some[0] for some in times.values()),
        "different": different,
        "mean_error": mean_error,
        "mb": mb,
    }


def _filled(prices: Column) -> PriceWindow:
    window = PriceWindow(_SPAN_MS)
    for at, price in enumerate(prices, _START):
        window.add(at, price, at)
    return window


def _questions(window: PriceWindow) -> dict[str, Callable[[int], object]]:
    return {
        "highest": lambda since: window.extreme(since, highest=True),
        "lowest": lambda since: window.extreme(since, highest=False),
        "average": window.mean,
    }


def _time_us(ask: Callable[[int], object], since: int) -> float:
    took = []
    for _ in range(5):
        began = perf_counter()
        for _ in range(_REPEATS // 5):
            ask(since)
        took.append(perf_counter() - began)
    return median(took) / (_REPEATS // 5) * 1e6


def _compare(window: PriceWindow, prices: Column) -> tuple[int, float]:
    different, worst = 0, 0.0
    last = _START + _ROWS - 1
    for _ in range(_CHECKS):
        duration = random.randint(0, _SPAN_MS)
        within = prices[_ROWS - 1 - duration :]
        high = window.extreme(last - duration, highest=True)
        low = window.extreme(last - duration, highest=False)
        mean = window.mean(last - duration)
        assert high is not None
        assert low is not None
        assert mean is not None
        assert window.latest is not None
        different += (
            (high.price, high.ticks) != (max(within), len(within))
            or (low.price, low.ticks) != (min(within), len(within))
            or mean.ticks != len(within)
            or window.latest.price != within[-1]
        )
        true = fsum(within) / len(within)
        worst = max(worst, abs(mean.total / mean.ticks - true) / true)
    return different, worst


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    print(json.dumps(measure()))
