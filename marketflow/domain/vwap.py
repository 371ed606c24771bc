"""The volume-weighted average price: sum(price_i * volume_i) / sum(volume_i)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from marketflow.domain.asset import AssetPrice, Quote, Source
from marketflow.domain.errors import NoQuotes

_LEAST_FOR_A_MEDIAN = 3


@dataclass(frozen=True, slots=True)
class VwapPolicy:
    """Which quotes count."""

    max_age_ms: int = 60_000  # older ones do not
    min_sources: int = 1  # with fewer that count there is no price
    max_deviation: float | None = None  # a share of the median; of three and more, others do not


def vwap(asset: str, quotes: Sequence[Quote], policy: VwapPolicy, now_ms: int) -> AssetPrice:
    """Return the average of the *quotes* that count, weighted by their volumes.

    An unknown volume weighs nothing; if all weigh nothing, all weigh the same.

    Raises:
        NoQuotes: fewer than the policy's `min_sources` count.
    """
    used = [quote for quote in quotes if now_ms - quote.timestamp_ms <= policy.max_age_ms]
    if policy.max_deviation is not None and len(used) >= _LEAST_FOR_A_MEDIAN:
        median = _median([quote.price for quote in used])
        allowed = policy.max_deviation * median
        used = [quote for quote in used if abs(quote.price - median) <= allowed]
    if not used or len(used) < policy.min_sources:
        raise NoQuotes
    return AssetPrice(
        asset,
        _average(used),
        max(quote.timestamp_ms for quote in used),
        now_ms,
        tuple(Source(quote, quote in used) for quote in quotes),
    )


def _average(quotes: Sequence[Quote]) -> float:
    volumes = [quote.volume or 0.0 for quote in quotes]
    largest = max(volumes)
    # shares of the largest: products and sums of huge volumes would be infinite, of tiny ones 0
    weights = [volume / largest for volume in volumes] if largest else [1.0] * len(quotes)
    total = math.fsum(weights)
    prices = [quote.price for quote in quotes]
    # half of each: the sum of shares of the largest price there is must not be infinite
    halves = (price / 2 * (weight / total) for price, weight in zip(prices, weights, strict=True))
    average = math.fsum(halves) * 2
    # rounding alone may leave the range of what was averaged
    return min(max(average, min(prices)), max(prices))


def _median(prices: list[float]) -> float:
    prices.sort()
    middle = len(prices) // 2
    if len(prices) % 2:
        return prices[middle]
    return prices[middle - 1] / 2 + prices[middle] / 2
