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


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one chunk of lines turned out to hold."""

    lines: int
    ticks: dict[str, Ticks] = field(default_factory=dict)  # canonical symbol -> columns
    rejects: dict[str, int] = field(default_factory=dict)  # reason -> lines
    ahead_ms: int = 0  # how far the worst timestamp was ahead of our clock, if one was rejected
