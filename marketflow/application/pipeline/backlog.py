"""The last minutes of encoded ticks: kept so that a mirror that was away can catch up."""

from collections import deque
from dataclasses import dataclass, field

from marketflow.application.ports import EncodedTicks, Instant

_ENTRY_BYTES = 400  # what an entry takes beside its text


class EntryIds:
    """Ids of flushes: wall milliseconds that never go back, and when each was given.

    The monotonic clock decides what is old: a stepped wall clock leaves ids far apart or dense.
    """

    def __init__(self, retention_ms: int) -> None:
        self._retention_ms = retention_ms
        self._last_ms = 0
        self._given: deque[tuple[int, int]] = deque()  # (monotonic ms of the flush, its id)

    def give(self, at: Instant) -> int:
        """Return the id of the flush made *at* that moment, above all earlier ones."""
        self._last_ms = max(at.wall_ms, self._last_ms + 1)
        self._given.append((at.mono_ms, self._last_ms))
        return self._last_ms

    def stay_above(self, id_ms: int) -> None:
        """Give only ids above *id_ms* from now on."""
        self._last_ms = max(self._last_ms, id_ms)

    def keep_from(self, now_mono: int) -> int:
        """Return the id below which everything is older than the retention."""
        edge_mono = now_mono - self._retention_ms
        while self._given and self._given[0][0] < edge_mono:
            self._given.popleft()
        if not self._given:
            return 0
        mono_ms, id_ms = self._given[0]
        # nothing is known of the time before the first flush: ids ran with the clock then
        return max(0, id_ms - (mono_ms - edge_mono))


@dataclass(slots=True, eq=False)
class Flush:
    """What was received between two flushes; its id is given when it is first sent."""

    at: Instant
    entries: list[EncodedTicks]
    id_ms: int = 0  # 0: none yet
    mirrored: bool = False  # the mirror has had it, and may have lost it since
    size_bytes: int = field(init=False)  # roughly, in memory

    def __post_init__(self) -> None:
        text = sum(len(entry.timestamps_ms) + len(entry.prices) for entry in self.entries)
        self.size_bytes = text + _ENTRY_BYTES * len(self.entries)

    def ticks(self) -> int:
        """Count the ticks."""
        return sum(entry.prices.count(b",") + 1 for entry in self.entries)


class Backlog:
    """Flushes of the last *retention_ms*, at most *max_bytes*: those mirrored, then the waiting.

    Mirrored ones are kept too: a mirror may come back without them.
    """

    def __init__(self, *, retention_ms: int, max_bytes: int) -> None:
        self._retention_ms = retention_ms
        self._max_bytes = max_bytes
        self._mirrored: deque[Flush] = deque()
        self._waiting: deque[Flush] = deque()
        self.size_bytes = 0
        self.waiting_bytes = 0

    def add(self, flush: Flush) -> None:
        """Append *flush* to those waiting."""
        self._waiting.append(flush)
        self.size_bytes += flush.size_bytes
        self.waiting_bytes += flush.size_bytes

    def oldest(self, max_bytes: int) -> list[Flush]:
        """Return the oldest waiting flushes, at most *max_bytes* of them, but at least one."""
        chosen: list[Flush] = []
        size = 0
        for flush in self._waiting:
            size += flush.size_bytes
            if chosen and size > max_bytes:
                break
            chosen.append(flush)
        return chosen

    def settle(self, count: int) -> None:
        """Note that the mirror has the *count* oldest waiting flushes."""
        for _ in range(count):
            flush = self._waiting.popleft()
            flush.mirrored = True
            self.waiting_bytes -= flush.size_bytes
            self._mirrored.append(flush)

    def rewind(self) -> None:
        """Let everything wait again: nobody knows what the mirror still has."""
        self._mirrored.extend(self._waiting)
        self._mirrored, self._waiting = deque(), self._mirrored
        self.waiting_bytes = self.size_bytes

    def trim(self, now_mono: int) -> int:
        """Drop what is too old or too much; how many ticks the mirror never had were dropped."""
        edge_mono = now_mono - self._retention_ms
        dropped = 0
        while flushes := self._mirrored or self._waiting:
            if flushes[0].at.mono_ms >= edge_mono and self.size_bytes <= self._max_bytes:
                break
            if flushes is self._waiting:
                self.waiting_bytes -= flushes[0].size_bytes
            flush = flushes.popleft()
            self.size_bytes -= flush.size_bytes
            if not flush.mirrored:
                dropped += flush.ticks()
        return dropped
