"""A chunk's ticks: the prices of each pair at the exchange's own times, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_PRICE = 1e12  # none is quoted above it; beside a vaster one the sums of others lose digits


class Ticks(NamedTuple):
    """The ticks of one pair in the order they were received, as columns of equal length.

    Columns because a chunk holds hundreds: one object per tick would cost more than the rest of
    the pipeline. Times are milliseconds since the epoch, UTC, above 0; prices are above 0 and at
    most `MAX_PRICE`: whoever builds one has checked that.
    """

    timestamps_ms: Sequence[int]
    prices: Sequence[float]


class TickText(NamedTuple):
    """The ticks of one pair as JSON numbers, comma-separated: read back, equal to the bit."""

    timestamps_ms: bytes
    prices: bytes

    @classmethod
    def of(cls, ticks: Ticks) -> "TickText":
        """Write *ticks*, at least one."""
        return cls(
            ",".join(map(repr, ticks.timestamps_ms)).encode(),
            ",".join(map(repr, ticks.prices)).encode(),
        )

    @classmethod
    def joined(cls, pieces: Sequence["TickText"]) -> "TickText":
        """Put *pieces*, at least one, in a row."""
        timestamps, prices = zip(*pieces, strict=True)
        return cls(b",".join(timestamps), b",".join(prices))

    @property
    def last(self) -> tuple[int, float]:
        """The last tick's timestamp and price."""
        return (
            int(self.timestamps_ms.rpartition(b",")[2]),
            float(self.prices.rpartition(b",")[2]),
        )


class Turn(NamedTuple):
    """One tick of each of several pairs, as columns of equal length, with the exchange's own text.

    Exchanges with many quiet pairs send nothing else: columns over the pairs then take the place
    of ten objects for each tick.
    """

    symbols: Sequence[str]  # canonical, none twice
    timestamps_ms: Sequence[int]
    prices: Sequence[float]
    time_texts: Sequence[bytes]
    price_texts: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one chunk of lines turned out to hold, by pair or as turns of all pairs."""

    lines: int
    ticks: dict[str, Ticks] = field(default_factory=dict)  # canonical symbol -> columns
    rejects: dict[str, int] = field(default_factory=dict)  # reason -> lines
    ahead_ms: int = 0  # how far the worst timestamp was ahead of our clock, if one was rejected
    # the exchange's own text of all of a symbol's ticks, where it can be passed on as it is:
    # writing floats costs ten times as much as everything else that is done for the mirror
    texts: dict[str, TickText] = field(default_factory=dict, compare=False)
    turns: list[Turn] = field(default_factory=list)  # in order; if there are any, `ticks` is empty

    def by_pair(self) -> "Decoded":
        """Return the same with the ticks of its turns by pair."""
        if not self.turns:
            return self
        ticks: dict[str, list[Any]] = {}
        for turn in self.turns:
            for symbol, *values in zip(*turn, strict=True):
                ticks.setdefault(symbol, []).append(values)
        found = Decoded(self.lines, rejects=self.rejects, ahead_ms=self.ahead_ms)
        for symbol, some in ticks.items():
            timestamps, prices, *texts = map(list, zip(*some, strict=True))
            found.ticks[symbol] = Ticks(timestamps, prices)
            found.texts[symbol] = TickText(*map(b",".join, texts))
        return found
