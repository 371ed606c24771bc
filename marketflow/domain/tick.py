"""A chunk's ticks: the prices of each pair at the exchange's own times, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one chunk of lines turned out to hold."""

    lines: int
    ticks: dict[str, Ticks] = field(default_factory=dict)  # canonical symbol -> columns
    rejects: dict[str, int] = field(default_factory=dict)  # reason -> lines
    ahead_ms: int = 0  # how far the worst timestamp was ahead of our clock, if one was rejected
    # the exchange's own text of all of a symbol's ticks, where it can be passed on as it is:
    # writing floats costs ten times as much as everything else that is done for the mirror
    texts: dict[str, TickText] = field(default_factory=dict, compare=False)
