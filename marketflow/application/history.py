"""The stored minutes of a pair, page by page."""

from typing import NamedTuple

from marketflow.application.minutes import Minutes
from marketflow.application.ports import Page
from marketflow.domain.minute import MinuteRow


class Place(NamedTuple):
    """Where a page ended: the pages after it begin behind this row."""

    end_ms: int
    exchange: str


class HistoryPage(NamedTuple):
    """Some of a pair's rows, in order; `next` says where they go on, if they do."""

    symbol: str
    exchange: str | None
    rows: list[MinuteRow]
    next: Place | None
    is_final: bool  # asked again, the answer would be the same for ever


class History:
    """Shows every minute that is over and has had its grace, stored yet or not."""

    def __init__(self, minutes: Minutes) -> None:
        self._minutes = minutes

    def page(
        self,
        symbol: str,
        exchange: str | None,
        *,
        from_ms: int | None,
        to_ms: int | None,
        after: Place | None,
        limit: int,
    ) -> HistoryPage:
        """Return the first *limit* rows whose end is in [from_ms, to_ms), behind *after*.

        Without *from_ms* and *after*: the last ones.

        Raises:
            UnknownSymbol, UnknownExchange, Restoring, StorageUnavailable
        """
        minutes = self._minutes.open(symbol, exchange)
        _, symbol, exchange, _ = minutes.subject
        end_ms = minutes.settled_ms + 1
        if to_ms is not None:
            end_ms = min(end_ms, to_ms)
        is_final = to_ms is not None and minutes.is_final(to_ms - 1)
        if from_ms is None and after is None:
            rows = minutes.rows(0, end_ms, Page(limit, newest=True))
            return HistoryPage(symbol, exchange, rows, None, is_final)
        start_ms, name = from_ms or 0, None
        if after is not None and after.end_ms >= start_ms:
            start_ms, name = after
        # one more than asked for tells whether there is more
        rows = minutes.rows(start_ms, end_ms, Page(limit + 1, after=name))
        following = None
        if len(rows) > limit:
            del rows[limit:]
            following = Place(rows[-1].timestamp_ms, rows[-1].exchange)
        return HistoryPage(symbol, exchange, rows, following, is_final)
