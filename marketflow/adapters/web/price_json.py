"""Prices as JSON: templates, several times faster than `json.dumps`.

Every name in them is known and needs no quoting.
"""

import sys
from datetime import UTC, datetime
from functools import lru_cache

from marketflow.application.answers import AveragePrice, ExtremePrice, LatestPrice, PriceStats
from marketflow.domain.period import Period

_BOOL = {True: "true", False: "false"}
_MOST = sys.float_info.max
_FRACTIONS = tuple(f".{ms:03d}Z" for ms in range(1000))  # formatting one takes 0.2 us


def latest_json(found: LatestPrice) -> str:
    """Return the object that `/prices/latest/{symbol}` answers with."""
    symbol, exchange, price, at_ms, age_ms, stale = found
    return (
        f'{{"symbol":"{symbol}","exchange":"{exchange}","price":{price!r},"timestamp":{at_ms},'
        f'"datetime":"{rfc3339(at_ms)}","age_ms":{age_ms},"stale":{_BOOL[stale]}}}'
    )


def extreme_json(found: ExtremePrice, period: Period) -> str:
    """Return the object that `/prices/highest/{symbol}` answers with."""
    symbol, exchange, price, at_ms, age_ms, stale, from_ms, to_ms, ticks = found
    return (
        f'{{"symbol":"{symbol}","exchange":"{exchange}","price":{price!r},"timestamp":{at_ms},'
        f'"datetime":"{rfc3339(at_ms)}","age_ms":{age_ms},"stale":{_BOOL[stale]},'
        f'"period":"{period.text}","from":{from_ms},"to":{to_ms},"count":{ticks}}}'
    )


def average_json(found: AveragePrice, period: Period) -> str:
    """Return the object that `/prices/average/{symbol}` answers with."""
    symbol, exchange, price, from_ms, to_ms, ticks = found
    return (
        f'{{"symbol":"{symbol}","exchange":{_exchange(exchange)},"price":{price!r},'
        f'"period":"{period.text}","from":{from_ms},"to":{to_ms},"count":{ticks}}}'
    )


def stats_json(found: PriceStats, period: Period) -> str:
    """Return the object that `/prices/stats/{symbol}` answers with."""
    symbol, exchange, first, high, low, last, average, from_ms, to_ms, ticks = found
    change = last - first
    # from next to nothing to a price is more per cent than a float holds, and JSON has no infinity
    percent = min(change / first * 100, _MOST)
    return (
        f'{{"symbol":"{symbol}","exchange":{_exchange(exchange)},'
        f'"open":{first!r},"high":{high!r},"low":{low!r},"close":{last!r},"average":{average!r},'
        f'"change":{change!r},"change_pct":{percent!r},'
        f'"period":"{period.text}","from":{from_ms},"to":{to_ms},"count":{ticks}}}'
    )


def rfc3339(time_ms: int) -> str:
    """Return *time_ms* as `2026-05-05T12:36:52.345Z`."""
    return _whole_second(time_ms // 1000) + _FRACTIONS[time_ms % 1000]


@lru_cache(maxsize=1024)
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def _exchange(name: str | None) -> str:
    return "null" if name is None else f'"{name}"'
