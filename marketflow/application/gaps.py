"""Where minutes are missing."""

from typing import NamedTuple

from marketflow.application.minutes import Minutes
from marketflow.application.ports import Run
from marketflow.domain.candle import align, align_up

_DEFAULT_MS = 86_400_000


class Gap(NamedTuple):
    """A time, of whole minutes, in which an exchange has none."""

    exchange: str
    from_ms: int
    to_ms: int


class GapList(NamedTuple):
    """The gaps of a pair between two times, by time, then exchange."""

    symbol: str
    exchange: str | None
    from_ms: int
    to_ms: int
    gaps: list[Gap]
    is_final: bool  # asked again, the answer would be the same for ever


class Gaps:
    """Compares the minutes there are, stored yet or not, with those there should be."""

    def __init__(self, minutes: Minutes) -> None:
        self._minutes = minutes

    def ask(
        self, symbol: str, exchange: str | None, *, from_ms: int | None, to_ms: int | None
    ) -> GapList:
        """Return the gaps of the whole minutes in [from_ms, to_ms).

        A minute that is not over, with its grace, is no gap. Without *from_ms*: of the day before
        the end, of each exchange since its first minute of all.

        Raises:
            UnknownSymbol, UnknownExchange, Restoring, StorageUnavailable
        """
        minutes = self._minutes.open(symbol, exchange)
        _, symbol, exchange, names = minutes.subject
        interval_ms = minutes.interval_ms
        end_ms = align(minutes.settled_ms, interval_ms)
        if to_ms is not None:
            end_ms = max(0, min(end_ms, align(to_ms, interval_ms)))
        start_ms = max(0, end_ms - _DEFAULT_MS if from_ms is None else from_ms)
        start_ms = min(align_up(start_ms, interval_ms), end_ms)
        gaps: list[Gap] = []
        if start_ms < end_ms:
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for run in minutes.runs(start_ms + 1, end_ms + 1):
                runs.setdefault(run.exchange, []).append(run)
            for name in names:
                since_ms = start_ms
                if from_ms is None and not minutes.on(name).edge(0, start_ms, newest=True):
                    first_ms = min((run.first_end_ms for run in runs[name]), default=None)
                    since_ms = end_ms if first_ms is None else first_ms - interval_ms
                gaps += _between(name, runs[name], since_ms, end_ms, interval_ms)
        gaps.sort(key=lambda gap: (gap.from_ms, gap.exchange))
        is_final = to_ms is not None and minutes.is_final(to_ms)
        return GapList(symbol, exchange, start_ms, end_ms, gaps, is_final)


def _between(
    exchange: str, runs: list[Run], start_ms: int, end_ms: int, interval_ms: int
) -> list[Gap]:
    """Return what *runs*, ordered by their beginnings, leave of [start_ms, end_ms)."""
    gaps, reached_ms = [], start_ms
    for run in runs:
        begin_ms = run.first_end_ms - interval_ms
        if begin_ms > reached_ms:
            gaps.append(Gap(exchange, reached_ms, begin_ms))
        reached_ms = max(reached_ms, run.last_end_ms)
    if reached_ms < end_ms:
        gaps.append(Gap(exchange, reached_ms, end_ms))
    return gaps
