"""What travels through the channels; never changed once sent."""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from marketflow.application.pipeline.folding import Folder, Part
from marketflow.domain.minute import MinuteRow, MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.stat import PriceStat
from marketflow.domain.tick import Decoded, Turn

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


@dataclass(frozen=True, slots=True)
class Batch:
    """A chunk's ticks, folded; exactly one per chunk, an empty one if the worker failed.

    Turns whose ticks are all of one minute need no folding.
    """

    origin: Origin
    number: int
    received_ms: int
    received_mono: int
    parts: dict[str, Part] = field(default_factory=dict)
    minutes: dict[int, dict[str, PriceStat]] = field(default_factory=dict)  # by minute end, pair
    rejects: dict[str, int] = field(default_factory=dict)
    late: int = 0
    skew_ms: int = 0  # by how much refused timestamps were ahead of us, or behind if below 0
    lane: "Lane | None" = None  # None when replayed from the journal
    turns: Sequence[Turn] = ()  # if there are any, there are no parts
    turns_end_ms: int = 0  # the end of their minute

    @classmethod
    def of(cls, heard: Heard, decoded: Decoded, rules: MinuteRules) -> "Batch":
        """Fold what *heard* was decoded to; ticks that come too late are only counted."""
        end_ms = _minute_of(decoded.turns, heard.received_ms, rules)
        if end_ms is None:
            decoded = decoded.by_pair()
        folder = Folder(heard.received_ms, rules)
        for symbol, ticks in decoded.ticks.items():
            folder.add(symbol, ticks, decoded.texts.get(symbol))
        return cls(
            heard.lane.origin,
            heard.number,
            heard.received_ms,
            heard.received_mono,
            folder.parts,
            folder.minutes,
            decoded.rejects,
            folder.late,
            decoded.ahead_ms or folder.behind_ms,
            heard.lane,
            decoded.turns,
            end_ms or 0,
        )

    @property
    def ticks(self) -> int:
        """How many ticks go to windows and minutes."""
        by_pair = [part.ticks for part in self.parts.values()]
        return sum(by_pair) + sum([len(turn.prices) for turn in self.turns])

    @property
    def newest_ms(self) -> int:
        """The newest timestamp, of a pair with many ticks the last one's; there must be a tick."""
        last = [part.timestamp_ms for part in self.parts.values()]
        return max(last + [max(turn.timestamps_ms) for turn in self.turns])

    def places(self) -> dict[int, int]:
        """Count the ticks of each millisecond in the windows, which is never after the receipt."""
        places: dict[int, int] = {}
        for turn in self.turns:
            for timestamp_ms, ticks in _counted(turn.timestamps_ms):
                at_ms = min(timestamp_ms, self.received_ms)
                places[at_ms] = places.get(at_ms, 0) + ticks
        for part in self.parts.values():
            for at_ms, ticks in zip(part.rows.ats, part.rows.ticks, strict=True):
                places[at_ms] = places.get(at_ms, 0) + ticks
        return places

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


def _minute_of(turns: Sequence[Turn], received_ms: int, rules: MinuteRules) -> int | None:
    # the end of the minute that all of them are in; None if there is none, or it is too late
    if not turns:
        return None
    end_ms = rules.end_of(min(min(turn.timestamps_ms) for turn in turns))
    newest_ms = max(max(turn.timestamps_ms) for turn in turns)
    return None if newest_ms >= end_ms or rules.is_late(end_ms, received_ms) else end_ms


def _counted(times: Sequence[int]) -> Iterable[tuple[int, int]]:
    first, count = times[0], len(times)
    return [(first, count)] if times.count(first) == count else Counter(times).items()
