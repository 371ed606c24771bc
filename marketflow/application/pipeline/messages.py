"""What travels through the channels; never changed once sent."""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from marketflow.domain.minute import MinuteRow, MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import Decoded, Ticks, TickText

if TYPE_CHECKING:
    from marketflow.application.pipeline.lane import Lane
    from marketflow.application.state import State

_new = tuple.__new__  # a named tuple's own constructor takes twice as long
# to merge more summaries, or such of fewer ticks each, takes longer than to sum all ticks up
_FEW_ROWS = 3
_ROW_SHARE = 8


class Origin(NamedTuple):
    """Which exchange's feed a chunk came from, in which mode, in which run of the intake."""

    mode: Mode
    exchange: str
    intake: int


@dataclass(frozen=True, slots=True)
class Heard:
    """A chunk of whole lines, numbered and stamped with both clocks (milliseconds)."""

    lane: "Lane"
    number: int
    received_ms: int
    received_mono: int
    chunk: bytes


class WindowRow(NamedTuple):
    """The ticks of one millisecond and the last one received among them."""

    at_ms: int  # never after received_ms
    stat: PriceStat
    price: float
    timestamp_ms: int


class Part(NamedTuple):
    """What a chunk held of one pair: rows for its window, sums for its minutes, and every tick."""

    ticks: int
    rows: list[WindowRow]
    minutes: list[tuple[int, PriceStat]]  # (minute end, its ticks)
    every: TickText | Ticks  # text where the exchange's own can be passed on: that is half as big


@dataclass(frozen=True, slots=True)
class Batch:
    """A chunk's ticks, folded; exactly one per chunk, an empty one if the worker failed."""

    origin: Origin
    number: int
    received_ms: int
    received_mono: int
    parts: dict[str, Part] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    late: int = 0
    skew_ms: int = 0  # by how much refused timestamps were ahead of us, or behind if below 0
    lane: "Lane | None" = None  # None when replayed from the journal

    @classmethod
    def of(cls, heard: Heard, decoded: Decoded, rules: MinuteRules) -> "Batch":
        """Fold what *heard* was decoded to; ticks that come too late are only counted."""
        parts: dict[str, Part] = {}
        late, skew_ms = 0, decoded.ahead_ms
        for symbol, ticks in decoded.ticks.items():
            text = decoded.texts.get(symbol)
            part, dropped = _fold(ticks, text, heard.received_ms, rules)
            if dropped:
                late += dropped
                skew_ms = skew_ms or min(ticks.timestamps_ms) - heard.received_ms
            if part is not None:
                parts[symbol] = part
        return cls(
            heard.lane.origin,
            heard.number,
            heard.received_ms,
            heard.received_mono,
            parts,
            decoded.rejects,
            late,
            skew_ms,
            heard.lane,
        )

    @classmethod
    def failed(cls, heard: Heard) -> "Batch":
        """Stand in for a chunk whose worker failed: its lines are counted, its order kept."""
        return cls(
            heard.lane.origin,
            heard.number,
            heard.received_ms,
            heard.received_mono,
            rejects={"worker": heard.chunk.count(b"\n")},
            lane=heard.lane,
        )


@dataclass(frozen=True, slots=True)
class Reset:
    """From here on the batches of another intake are answered from *state*."""

    state: "State"
    done: threading.Event = field(default_factory=threading.Event)  # set once it is so


@dataclass(frozen=True, slots=True)
class Closing:
    """Rows to store; all that was received before *watermark_ms* is in these or earlier ones."""

    rows: list[MinuteRow]
    watermark_ms: int


def _fold(
    ticks: Ticks, text: TickText | None, received_ms: int, rules: MinuteRules
) -> tuple[Part | None, int]:
    timestamps, prices = ticks
    if len(prices) == 1:  # 1 us instead of 3: with hundreds of pairs there is no other case
        return _fold_one(ticks, text, received_ms, rules)
    dropped = 0
    ordered = sorted(timestamps)
    if rules.is_late(rules.end_of(ordered[0]), received_ms):
        kept = [
            (at, price)
            for at, price in zip(timestamps, prices, strict=True)
            if not rules.is_late(rules.end_of(at), received_ms)
        ]
        dropped = len(prices) - len(kept)
        if not kept:
            return None, dropped
        timestamps, prices = map(list, zip(*kept, strict=True))
        ticks, text, ordered = Ticks(timestamps, prices), None, sorted(timestamps)
    in_order = ordered == timestamps
    rows = list(_rows(ticks, received_ms) if in_order else _rows_in_disorder(ticks, received_ms))
    end_ms = rules.end_of(ordered[0])
    if ordered[-1] >= end_ms:
        minutes = list(_minutes(ticks, rules))
    elif len(rows) <= max(_FEW_ROWS, len(prices) // _ROW_SHARE):
        minutes = [(end_ms, reduce(PriceStat.merge, [row.stat for row in rows]))]
    else:
        minutes = [(end_ms, PriceStat.of(ticks))]
    return _new(Part, (len(prices), rows, minutes, text or ticks)), dropped


def _fold_one(
    ticks: Ticks, text: TickText | None, received_ms: int, rules: MinuteRules
) -> tuple[Part | None, int]:
    at, price = ticks.timestamps_ms[0], ticks.prices[0]
    end_ms = rules.end_of(at)
    if end_ms < received_ms and rules.is_late(end_ms, received_ms):
        return None, 1
    stat = PriceStat.of_one(at, price)
    row = _new(WindowRow, (min(at, received_ms), stat, price, at))
    return _new(Part, (1, [row], [(end_ms, stat)], text or ticks)), 0


def _minutes(ticks: Ticks, rules: MinuteRules) -> Iterator[tuple[int, PriceStat]]:
    timestamps, prices = ticks
    order = sorted(range(len(prices)), key=lambda i: rules.end_of(timestamps[i]))
    for end_ms, group in groupby(order, key=lambda i: rules.end_of(timestamps[i])):
        chosen = list(group)
        yield (
            end_ms,
            PriceStat.of(Ticks([timestamps[i] for i in chosen], [prices[i] for i in chosen])),
        )


def _rows(ticks: Ticks, received_ms: int) -> Iterator[WindowRow]:
    timestamps, prices = ticks
    start, count = 0, len(prices)
    while start < count:  # from millisecond to millisecond: a flood has hundreds of ticks in each
        at = timestamps[start]
        end = bisect_right(timestamps, at, start) if at < received_ms else count
        if end - start == 1:
            price = prices[start]
            yield _new(WindowRow, (min(at, received_ms), PriceStat.of_one(at, price), price, at))
        elif timestamps[end - 1] == at:
            some = prices[start:end]
            stat = PriceStat.of_burst(at, some)
            yield _new(WindowRow, (min(at, received_ms), stat, some[-1], at))
        else:
            yield _row(received_ms, timestamps[start:end], prices[start:end])
        start = end


def _rows_in_disorder(ticks: Ticks, received_ms: int) -> Iterator[WindowRow]:
    # says what is meant, also of ticks in order
    timestamps, prices = ticks
    start, current = 0, min(timestamps[0], received_ms)
    for i, timestamp in enumerate(timestamps):
        at = min(timestamp, received_ms)
        if at > current:
            yield _row(current, timestamps[start:i], prices[start:i])
            start, current = i, at
    yield _row(current, timestamps[start:], prices[start:])


def _row(at_ms: int, timestamps: Sequence[int], prices: Sequence[float]) -> WindowRow:
    return WindowRow(at_ms, PriceStat.of(Ticks(timestamps, prices)), prices[-1], timestamps[-1])
