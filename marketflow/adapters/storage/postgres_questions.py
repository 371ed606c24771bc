"""What PostgreSQL is asked about minutes: statements, and the values that go with them."""

from marketflow.application.ports import Page
from marketflow.domain.mode import Mode

# date_part is a double: exact to the microsecond, and several times faster than extract's numeric
_SELECT = """
SELECT
    pair_name,
    exchange,
    (date_part('epoch', timestamp) * 1000)::bigint,
    average_price,
    min_price,
    max_price,
    open_price,
    close_price,
    (date_part('epoch', open_at) * 1000)::bigint,
    (date_part('epoch', close_at) * 1000)::bigint,
    (date_part('epoch', min_at) * 1000)::bigint,
    (date_part('epoch', max_at) * 1000)::bigint,
    tick_count
FROM market_data
{where}
{after}
{order}
"""
_WHERE = """
WHERE mode = %(mode)s
    AND pair_name = %(pair)s
    AND (%(exchange)s::text IS NULL OR exchange = %(exchange)s::text)
    AND timestamp >= timestamptz 'epoch' + %(first)s * interval '1 millisecond'
    AND timestamp < timestamptz 'epoch' + %(end)s * interval '1 millisecond'
"""
_AFTER = """
    AND (
        timestamp > timestamptz 'epoch' + %(first)s * interval '1 millisecond'
        OR exchange > %(after)s COLLATE "C"
    )
"""
# names in the order of their bytes, as everywhere here, whatever the database's language
_OLDEST_FIRST = 'ORDER BY timestamp, exchange COLLATE "C" LIMIT %(limit)s'
_NEWEST_FIRST = 'ORDER BY timestamp DESC, exchange COLLATE "C" DESC LIMIT %(limit)s'
# the smallest and largest arrays are the first and the last minute's, with the ends in them
_CANDLES = """
SELECT
    number * %(interval)s,
    opening[3],
    high,
    low,
    closing[3],
    ticks,
    (opening[2] * 1000)::bigint,
    exchange,
    (closing[2] * 1000)::bigint,
    exchange
FROM (
    SELECT
        ((date_part('epoch', timestamp) * 1000)::bigint - 1) / %(interval)s AS number,
        exchange,
        max(max_price) AS high,
        min(min_price) AS low,
        sum(tick_count)::bigint AS ticks,
        min(ARRAY[date_part('epoch', timestamp), date_part('epoch', open_at), open_price])
            AS opening,
        max(ARRAY[date_part('epoch', timestamp), date_part('epoch', close_at), close_price])
            AS closing
    FROM market_data
    {where}
    GROUP BY number, exchange
) AS part
"""
# minutes one after the other are as far from their number as the first of them
_RUNS = """
SELECT exchange, min(end_ms), max(end_ms)
FROM (
    SELECT
        exchange,
        end_ms,
        end_ms - %(interval)s * row_number() OVER (PARTITION BY exchange ORDER BY end_ms) AS run
    FROM (
        SELECT exchange, (date_part('epoch', timestamp) * 1000)::bigint AS end_ms
        FROM market_data
        {where}
    ) AS minutes
    WHERE end_ms %% %(interval)s = 0
) AS numbered
GROUP BY exchange, run
ORDER BY exchange COLLATE "C", run
"""
_LATEST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, as in the embedded store

Values = dict[str, object]
Question = tuple[str, Values]


def pair_in(mode: Mode, symbol: str, exchange: str | None, from_ms: int, to_ms: int) -> Values:
    """Return the values that say: a pair's minutes whose end is in [from_ms, to_ms)."""
    return {
        "mode": mode.value,
        "pair": symbol,
        "exchange": exchange,
        "first": min(max(from_ms, 0), _LATEST_MS),
        "end": min(max(to_ms, 0), _LATEST_MS),
    }


def rows(pair: Values, page: Page) -> Question:
    """Ask for rows, of a *newest* page the newest first."""
    statement = _SELECT.format(
        where=_WHERE,
        after="" if page.after is None else _AFTER,
        order=_NEWEST_FIRST if page.newest else _OLDEST_FIRST,
    )
    return statement, {**pair, "after": page.after, "limit": page.limit}


def candles(pair: Values, interval_ms: int) -> Question:
    """Ask for each exchange's candles, in the order of `Candle`'s fields."""
    return _CANDLES.format(where=_WHERE), {**pair, "interval": interval_ms}


def runs(pair: Values, interval_ms: int) -> Question:
    """Ask for the runs of minutes, in the order of `Run`'s fields."""
    return _RUNS.format(where=_WHERE), {**pair, "interval": interval_ms}
