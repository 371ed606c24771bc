"""Synthetic prices as pure generators: seeded walks, bursts of lines, and the pace of both."""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

PAIRS = ("BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT")
START_PRICES = (
    {"BTCUSDT": 100000.0, "DOGEUSDT": 0.30, "TONUSDT": 3.9, "SOLUSDT": 200.0, "ETHUSDT": 3050.0},
    {"BTCUSDT": 100029.0, "DOGEUSDT": 0.28, "TONUSDT": 3.72, "SOLUSDT": 197.0, "ETHUSDT": 3034.0},
    {"BTCUSDT": 100049.0, "DOGEUSDT": 0.31, "TONUSDT": 3.66, "SOLUSDT": 202.0, "ETHUSDT": 3022.0},
)
OTHER_START_PRICE = 100.0  # of a symbol that is not among the five
RATE = 50.0  # lines per second: the five pairs every 100 ms

_BTC_REACH = 250.0
_REACH = 0.01  # share of the last price
_BAND = 10.0  # times the start price, and its tenth


class Burst(NamedTuple):
    """Lines that share one moment, in milliseconds since the first burst.

    The lines are cut where the timestamp goes: `timestamp.join(pieces)` is what is sent.
    """

    at_ms: float
    pieces: tuple[bytes, ...]


def walk(symbol: str, exchange: int, seed: int | None = None) -> Iterator[float]:
    """Yield prices without end, the first one step from the start price of *exchange* (1, 2, …).

    BTCUSDT moves by up to 250, but never below 99 % of the last price, the others by up to 1 %.
    Ten times above or below its start a price can only turn back: a fast walk would otherwise
    reach zero within the hour.
    """
    random = Random(None if seed is None else f"{seed}/{exchange}/{symbol}").random
    start_prices = START_PRICES[(exchange - 1) % len(START_PRICES)]
    price = start_prices.get(symbol, OTHER_START_PRICE)
    lowest, highest = price / _BAND, price * _BAND
    while True:
        reach = _BTC_REACH if symbol == "BTCUSDT" else price * _REACH
        step = (2.0 * random() - 1.0) * reach
        if price < lowest:
            step = abs(step)
        elif price > highest:
            step = -abs(step)
        price = max(price + step, price * (1.0 - _REACH))
        yield price


def bursts(
    exchange: int,
    *,
    symbols: Sequence[str] = PAIRS,
    rate: float = RATE,
    seed: int | None = None,
) -> Iterator[Burst]:
    """Yield bursts without end, one line per symbol in each, *rate* lines per second."""
    walks = [walk(symbol, exchange, seed) for symbol in symbols]
    heads = [f'{{"symbol":{json.dumps(symbol)},"price":'.encode() for symbol in symbols]
    heads[1:] = [b"}\n" + head for head in heads[1:]]
    interval_ms = 1000.0 * len(symbols) / rate
    for number, prices in enumerate(zip(*walks, strict=False)):
        pieces = [
            b'%b%a,"timestamp":' % (head, price) for head, price in zip(heads, prices, strict=True)
        ]
        yield Burst(number * interval_ms, (*pieces, b"}\n"))


class Playback:
    """Endless bursts in real time: no drift, and no flood after a stall of over a second.

    Times are milliseconds: `mono_ms` of a clock that never steps, `wall_ms` since the epoch.
    Not locked: it belongs to one thread.
    """

    MAX_LAG_MS = 1000.0
    MIN_WAIT_MS = 10.0  # bursts closer together than this are taken several at a time
    MAX_TAKEN = 256

    def __init__(self, endless: Iterator[Burst]) -> None:
        self._bursts = endless
        self._next = next(endless)
        self._reached_ms = self._next.at_ms  # never goes back, though a recorded time may
        self._origin_ms = 0.0  # when `at_ms` was 0
        self._due_ms = 0.0
        self._rests_until_ms = 0.0

    def resume(self, mono_ms: float) -> None:
        """Make the next burst due now, the others after it as before."""
        self._origin_ms = mono_ms - self._reached_ms
        self._due_ms = self._rests_until_ms = mono_ms

    def next_ms(self) -> float:
        """Return when to `take` next, on the monotonic clock."""
        return max(self._due_ms, self._rests_until_ms)

    def take(self, mono_ms: float, wall_ms: float) -> bytes:
        """Return the lines due by now, each stamped with the moment it was due."""
        if mono_ms - self._due_ms > self.MAX_LAG_MS:
            self.resume(mono_ms)
        epoch_ms = wall_ms - mono_ms + self._origin_ms
        taken: list[bytes] = []
        while self._due_ms <= mono_ms and len(taken) < self.MAX_TAKEN:
            stamp = b"%d" % int(epoch_ms + self._next.at_ms)
            taken.append(stamp.join(self._next.pieces))
            self._advance()
        if self._due_ms > mono_ms:
            self._rests_until_ms = mono_ms + self.MIN_WAIT_MS
        return b"".join(taken)

    def _advance(self) -> None:
        self._next = next(self._bursts)
        self._reached_ms = max(self._reached_ms, self._next.at_ms)
        self._due_ms = max(self._due_ms, self._origin_ms + self._reached_ms)
