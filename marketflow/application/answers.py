"""What price questions are answered with."""

from typing import NamedTuple


class LatestPrice(NamedTuple):
    """The newest tick of a pair."""

    symbol: str
    exchange: str
    price: float
    timestamp_ms: int
    age_ms: int
    stale: bool


class ExtremePrice(NamedTuple):
    """The highest or lowest price of a period, with where and when it was."""

    symbol: str
    exchange: str
    price: float
    timestamp_ms: int
    age_ms: int
    stale: bool
    from_ms: int
    to_ms: int
    ticks: int


class AveragePrice(NamedTuple):
    """The mean over the ticks of a period; `exchange` None is over all."""

    symbol: str
    exchange: str | None
    price: float
    from_ms: int
    to_ms: int
    ticks: int


class PriceStats(NamedTuple):
    """A period's first, highest, lowest, last and mean price; `exchange` None is over all."""

    symbol: str
    exchange: str | None
    open: float
    high: float
    low: float
    close: float
    average: float
    from_ms: int
    to_ms: int
    ticks: int
