"""One price at one time on one exchange, and many of them as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Tick:
    """A trade price as an exchange sent it; times in milliseconds since the epoch, UTC."""

    exchange: str
    symbol: str
    price: float
    timestamp_ms: int
    received_ms: int
    volume: float | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.price) and self.price > 0):
            raise ValueError(f"price must be a finite number above 0, was {self.price!r}")
        if self.timestamp_ms <= 0:
            raise ValueError(f"timestamp must be above 0, was {self.timestamp_ms!r}")


class Ticks(NamedTuple):
    """The ticks of one pair in the order they were received, as columns of equal length.

    Columns because a chunk holds hundreds: one object per tick would cost more than the rest of
    the pipeline. Whoever builds one has checked every price (finite, above 0) and timestamp.
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
