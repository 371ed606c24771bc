"""What every history of asset prices needs of items: one per key, and times that fit."""

from collections.abc import Iterable

from marketflow.domain.asset import HistoryItem

_LATEST_S = 2**63 - 1  # what the databases can hold


def ones_that_stay(items: Iterable[HistoryItem]) -> list[HistoryItem]:
    """Return one item per asset and second, by asset, then time: of each key the newest.

    Of equally new ones it is the last.
    """
    staying: dict[tuple[str, int], HistoryItem] = {}
    for item in items:
        key = (item.asset, item.timestamp_s)
        known = staying.get(key)
        if known is None or item.updated_s >= known.updated_s:
            staying[key] = item
    return [staying[key] for key in sorted(staying)]


def storable_s(timestamp_s: int) -> int:
    """Return the time nearest to *timestamp_s* that a database can hold."""
    return min(max(timestamp_s, -_LATEST_S), _LATEST_S)
