"""Which assets are due when: each tier at its pace, evenly, whatever happened before."""

from array import array
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from marketflow.domain.asset import AssetCatalog, Tier

_START_MS = 50_000  # within which every asset comes for the first time
_FIRST_TIER_MS = 1_000  # the same for those of the first tier, if they are few
_START_RATE = 50  # a second: few assets need not take the whole start
_CATCH_UP_S = 40  # in which every asset could be taken once: the bound of the rate
_RETRY_MS = 3_000  # after a first failure; doubled by each further one, up to the interval
_LEAST_GAP = 0.4  # of an interval between two turns, so that none is over 1.4


class Due(NamedTuple):
    """An asset whose turn it is."""

    asset: str
    tier: int
    place: int  # in its tier


class _Line:
    """The assets of one tier, each with a fixed phase in the tier's interval.

    For the first time they are due within *span_ms* from *begin_mono* on.
    """

    def __init__(
        self, number: int, tier: Tier, assets: Sequence[str], *, begin_mono: int, span_ms: int
    ) -> None:
        self.number = number
        self.every_ms = tier.every_ms
        self.assets = assets
        self._begin_mono = begin_mono
        count = len(assets)
        firsts = [begin_mono + span_ms * place // count for place in range(count)]
        self._heap = list(zip(firsts, range(count), strict=True))  # sorted, so it is a heap
        self._due = array("q", firsts)
        self._failures: dict[int, int] = {}  # in a row, of those that failed last time

    def head(self) -> int | None:
        """Return when the first is due."""
        heap = self._heap
        # brought forward after a failure: the entry for the later turn is void
        while heap and heap[0][0] != self._due[heap[0][1]]:
            heappop(heap)
        return heap[0][0] if heap else None

    def take(self, now_mono: int) -> Due:
        """Return the first and give it its next turn."""
        _, place = heappop(self._heap)
        phase = self._begin_mono + self.every_ms * place // len(self.assets)
        earliest = now_mono + int(self.every_ms * _LEAST_GAP)
        turns = -((phase - earliest) // self.every_ms)
        self._set(place, phase + turns * self.every_ms)
        return Due(self.assets[place], self.number, place)

    def failed(self, place: int, now_mono: int) -> None:
        """Bring the next turn forward, the less the more often it failed."""
        failures = self._failures[place] = self._failures.get(place, 0) + 1
        retry_mono = now_mono + min(self.every_ms, _RETRY_MS << min(failures - 1, 16))
        if retry_mono < self._due[place]:
            self._set(place, retry_mono)

    def succeeded(self, place: int) -> None:
        self._failures.pop(place, None)

    def _set(self, place: int, due_mono: int) -> None:
        self._due[place] = due_mono
        heappush(self._heap, (due_mono, place))


class Schedule:
    """Every asset once soon after *now_mono*, tier by tier, from then on at its tier's pace.

    For one thread; times are monotonic milliseconds. What is taken late does not shift what
    follows. More than *rate* a second are never taken: of overdue assets those of the shortest
    interval come first, and of these the oldest.
    """

    def __init__(self, catalog: AssetCatalog, now_mono: int) -> None:
        members: dict[Tier, list[str]] = {tier: [] for tier in catalog.tiers}
        for asset in catalog.names:
            members[catalog.tier(asset)].append(asset)
        steady = sum(len(assets) * 1000 / tier.every_ms for tier, assets in members.items())
        self.rate = max(_START_RATE, 2 * steady, len(catalog.names) / _CATCH_UP_S)
        self._credit = self.rate
        self._credited_mono = begin_mono = now_mono
        self._lines: list[_Line] = []
        spans_ms = _spans_ms([len(assets) for assets in members.values()], self.rate)
        for (tier, assets), span_ms in zip(members.items(), spans_ms, strict=True):
            number = len(self._lines)
            self._lines.append(_Line(number, tier, assets, begin_mono=begin_mono, span_ms=span_ms))
            begin_mono += span_ms
        # whose interval is short cannot wait for the many: what they take of the rate is bounded
        self._by_interval = sorted(self._lines, key=lambda line: line.every_ms)

    def take(self, now_mono: int, limit: int) -> list[Due]:
        """Return up to *limit* of those whose turn it is."""
        earned = (now_mono - self._credited_mono) * self.rate / 1000
        self._credit = min(self.rate, self._credit + earned)
        self._credited_mono = now_mono
        taken: list[Due] = []
        while len(taken) < min(limit, int(self._credit)) and (line := self._first(now_mono)):
            taken.append(line.take(now_mono))
        self._credit -= len(taken)
        return taken

    def failed(self, due: Due, now_mono: int) -> None:
        """Note that a refresh did not make a price: try again soon."""
        self._lines[due.tier].failed(due.place, now_mono)

    def succeeded(self, due: Due) -> None:
        """Note that a refresh did what can be done."""
        self._lines[due.tier].succeeded(due.place)

    def _first(self, now_mono: int) -> _Line | None:
        """Return the line to be served: the shortest interval with somebody due."""
        for line in self._by_interval:
            due_mono = line.head()
            if due_mono is not None and due_mono <= now_mono:
                return line
        return None


def _spans_ms(counts: Sequence[int], rate: float) -> list[int]:
    """Return how long the start of each tier takes, one after the other."""
    if not counts:
        return []
    first_ms = max(_FIRST_TIER_MS, round(counts[0] * 1000 / rate))
    rest = sum(counts[1:])
    rest_ms = min(_START_MS - first_ms, rest * 1000 // _START_RATE)
    return [first_ms, *(rest_ms * count // rest if rest else 0 for count in counts[1:])]
