"""What travels through the channels; never changed once sent."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from marketflow.domain.minute import MinuteRow, MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import Decoded, Ticks

if TYPE_CHECKING:
    from marketflow.application.pipeline.lane import Lane
    from marketflow.application.state import State


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
    columns: Ticks


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
            part, dropped = _fold(ticks, heard.received_ms, rules)
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


def _fold(ticks: Ticks, received_ms: int, rules: MinuteRules) -> tuple[Part | None, int]:
    count = len(ticks.prices)
    oldest, newest = min(ticks.timestamps_ms), max(ticks.timestamps_ms)
    dropped = 0
    if rules.is_late(rules.end_of(oldest), received_ms):
        kept = [
            (at, price)
            for at, price in zip(*ticks, strict=True)
            if not rules.is_late(rules.end_of(at), received_ms)
        ]
        dropped = count - len(kept)
        if not kept:
            return None, dropped
        ticks = Ticks(*map(list, zip(*kept, strict=True)))
        oldest = min(ticks.timestamps_ms)
    if oldest == newest:  # one burst, or a flood within a millisecond: the common case
        stat = PriceStat.of(ticks)
        row = WindowRow(min(oldest, received_ms), stat, ticks.prices[-1], ticks.timestamps_ms[-1])
        return Part(stat.ticks, [row], [(rules.end_of(oldest), stat)], ticks), dropped
    rows = list(_rows(ticks, received_ms))
    minutes = list(_minutes(ticks, oldest, newest, rules))
    return Part(count - dropped, rows, minutes, ticks), dropped


def _minutes(
    ticks: Ticks, oldest: int, newest: int, rules: MinuteRules
) -> Iterator[tuple[int, PriceStat]]:
    if newest < rules.end_of(oldest):
        yield rules.end_of(oldest), PriceStat.of(ticks)
        return
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
    start, current = 0, min(timestamps[0], received_ms)
    for i, timestamp in enumerate(timestamps):
        at = min(timestamp, received_ms)
        if at > current:
            yield _row(current, timestamps[start:i], prices[start:i])
            start, current = i, at
    yield _row(current, timestamps[start:], prices[start:])


def _row(at_ms: int, timestamps: Sequence[int], prices: Sequence[float]) -> WindowRow:
    return WindowRow(at_ms, PriceStat.of(Ticks(timestamps, prices)), prices[-1], timestamps[-1])
