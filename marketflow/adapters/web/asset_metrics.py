"""What the aggregated asset prices count."""

from collections.abc import Iterator

from marketflow.adapters.web.exposition import Sample, counter, gauge
from marketflow.application.assets.service import Assets


def asset_lines(assets: Assets) -> Iterator[str]:
    """Yield the samples of everything that has to do with assets."""
    refreshes: list[Sample] = [
        ({"tier": tier, "result": result}, count)
        for (tier, result), count in assets.refreshes.counts.items()
    ]
    yield from counter("asset_refreshes", "Refreshes that ended.", refreshes)
    prices = assets.prices
    lookups: list[Sample] = [
        ({"result": "hit"}, prices.hits),
        ({"result": "miss"}, prices.misses),
    ]
    yield from counter("asset_lookups", "Questions for a price, by whether there was one.", lookups)
    breakers: list[Sample] = [
        ({"exchange": breaker.exchange}, breaker.state) for _, breaker in assets.report.exchanges()
    ]
    yield from gauge("exchange_breaker_state", "0 closed, 1 half-open, 2 open.", breakers)
    historian = assets.historian
    yield from gauge(
        "asset_history_waiting",
        "Prices the history does not have yet.",
        [({}, historian.waiting())],
    )
    yield from counter("asset_history_dropped", "Prices given up.", [({}, historian.dropped)])
    yield from counter(
        "asset_history_errors", "Attempts the history failed.", [({}, historian.errors)]
    )
