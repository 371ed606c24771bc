"""What the service should say, worked out by brute force from the lines that were sent."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, product
from math import fsum, inf, isclose
from typing import Any, NamedTuple

import pytest

SYMBOLS = ("BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT")
INTERVAL_MS = 2_000


class Sent(NamedTuple):
    """A line that left the feeder, when, and when its connection was made (monotonic seconds)."""

    exchange: str
    connected_at: float
    sent_at: float
    symbol: str
    price: float
    timestamp_ms: int


class StoredRow(NamedTuple):
    """A row of `market_data`, times in milliseconds."""

    mode: str
    exchange: str
    symbol: str
    end_ms: int
    count: int
    low: float
    high: float
    average: float
    open: float
    close: float
    open_ms: int
    close_ms: int
    low_ms: int
    high_ms: int

    @property
    def series(self) -> tuple[str, str, int]:
        """What the row is about, whatever the mode."""
        return self.exchange, self.symbol, self.end_ms


def milliseconds(text: str) -> int:
    """Read RFC 3339."""
    assert text.endswith("Z"), text
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def end_of(timestamp_ms: int, interval_ms: int = INTERVAL_MS) -> int:
    """Return the end of the minute; a tick on the boundary belongs to the new one."""
    return timestamp_ms // interval_ms * interval_ms + interval_ms


def by_minute(
    sent: Iterable[Sent], interval_ms: int = INTERVAL_MS
) -> dict[tuple[str, str, int], list[Sent]]:
    """Group ticks as rows do: exchange, symbol, minute's end."""
    minutes: dict[tuple[str, str, int], list[Sent]] = defaultdict(list)
    for tick in sent:
        minutes[tick.exchange, tick.symbol, end_of(tick.timestamp_ms, interval_ms)].append(tick)
    return dict(minutes)


def matches(row: StoredRow, ticks: list[Sent]) -> bool:
    """Whether *row* is exactly what *ticks* make: bit-equal, the average to 1e-9."""
    if row.count != len(ticks):
        return False
    prices = [tick.price for tick in ticks]
    times = {tick.timestamp_ms for tick in ticks}
    at = {(tick.timestamp_ms, tick.price) for tick in ticks}
    return (
        (row.low, row.high) == (min(prices), max(prices))
        and isclose(row.average, fsum(prices) / len(prices), rel_tol=1e-9)
        and row.low <= row.average <= row.high
        and (row.open_ms, row.close_ms) == (min(times), max(times))
        and {(row.open_ms, row.open), (row.close_ms, row.close)} <= at
        and {(row.low_ms, row.low), (row.high_ms, row.high)} <= at
    )


def check_rows(
    rows: Iterable[StoredRow], sent: Iterable[Sent], interval_ms: int = INTERVAL_MS
) -> None:
    """Check that there is exactly one right row for every minute with a tick, and no other."""
    minutes, found = by_minute(sent, interval_ms), list(rows)
    assert sorted(row.series for row in found) == sorted(minutes)
    wrong = [row for row in found if not matches(row, minutes[row.series])]
    assert not wrong, [(row, minutes[row.series]) for row in wrong[:2]]


def check_rows_after_kills(
    rows: Iterable[StoredRow], sent: Iterable[Sent], kills: Iterable[float], sure_s: float = 0.25
) -> None:
    """Check rows when the reader died at *kills*: what was sent just before may be missing.

    Of each connection that a kill ended, the ticks sent in the last *sure_s* before it and since
    may be absent, but only from the end.
    """
    kills = list(kills)
    minutes, found = by_minute(sent), {row.series: row for row in rows}
    assert not found.keys() - minutes.keys()
    for series, ticks in minutes.items():
        certain = [tick for tick in ticks if _is_sure(tick, kills, sure_s)]
        rest = [tick for tick in ticks if not _is_sure(tick, kills, sure_s)]
        row = found.get(series)
        if row is None:
            assert not certain
        else:
            fits = any(matches(row, choice) for choice in _possible(row.count, certain, rest))
            assert fits, (row, certain, rest)


def _is_sure(tick: Sent, kills: Iterable[float], sure_s: float) -> bool:
    """Whether its connection lived on for *sure_s* after *tick* was sent."""
    ended_at = min((kill for kill in kills if kill >= tick.connected_at), default=inf)
    return tick.sent_at < ended_at - sure_s


def _possible(count: int, certain: list[Sent], rest: list[Sent]) -> Iterator[list[Sent]]:
    """Yield the *count* ticks a row may be made of: the certain, and beginnings of the rest."""
    by_connection: dict[float, list[Sent]] = defaultdict(list)
    for tick in rest:
        by_connection[tick.connected_at].append(tick)
    connections = list(by_connection.values())
    for lengths in product(*(range(len(some) + 1) for some in connections)):
        if len(certain) + sum(lengths) == count:
            beginnings = (some[:n] for some, n in zip(connections, lengths, strict=True))
            yield [*certain, *chain(*beginnings)]


def check_extreme(
    answer: dict[str, Any], sent: Iterable[Sent], *, highest: bool, before_ms: int | None = None
) -> None:
    """Check an answer of /prices/highest or lowest against every tick between its edges."""
    ticks = _inside(answer, sent, before_ms)
    assert answer["count"] == len(ticks)
    price = (max if highest else min)(tick.price for tick in ticks)
    latest = max(tick.timestamp_ms for tick in ticks if tick.price == price)
    where = min(
        tick.exchange for tick in ticks if tick.price == price and tick.timestamp_ms == latest
    )
    assert (answer["price"], answer["timestamp"], answer["exchange"]) == (price, latest, where)


def check_average(
    answer: dict[str, Any], sent: Iterable[Sent], before_ms: int | None = None
) -> None:
    """Check an answer of /prices/average against every tick between its edges."""
    ticks = _inside(answer, sent, before_ms)
    assert answer["count"] == len(ticks)
    prices = [tick.price for tick in ticks]
    assert answer["price"] == pytest.approx(fsum(prices) / len(prices), rel=1e-9, abs=0)
    assert min(prices) <= answer["price"] <= max(prices)


def check_stats(answer: dict[str, Any], sent: Iterable[Sent]) -> None:
    """Check an answer of /prices/stats against every tick between its edges."""
    ticks = _inside(answer, sent, None)
    assert answer["count"] == len(ticks)
    prices = [tick.price for tick in ticks]
    assert (answer["low"], answer["high"]) == (min(prices), max(prices))
    assert answer["average"] == pytest.approx(fsum(prices) / len(prices), rel=1e-9, abs=0)
    for name, pick in (("open", min), ("close", max)):
        moment = pick(tick.timestamp_ms for tick in ticks)
        there = [tick for tick in ticks if tick.timestamp_ms == moment]
        first = min(tick.exchange for tick in there)
        assert answer[name] in {tick.price for tick in there if tick.exchange == first}
    assert answer["change"] == answer["close"] - answer["open"]
    percent = answer["change"] / answer["open"] * 100
    assert answer["change_pct"] == pytest.approx(percent, rel=1e-9, abs=1e-12)


def _inside(answer: dict[str, Any], sent: Iterable[Sent], before_ms: int | None) -> list[Sent]:
    to_ms = answer["to"] if before_ms is None else min(answer["to"], before_ms)
    return [tick for tick in sent if answer["from"] <= tick.timestamp_ms <= to_ms]
