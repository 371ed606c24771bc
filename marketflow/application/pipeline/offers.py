"""Ticks on their way from the collector to the publisher: bounded, and nobody ever waits."""

from collections import deque

from marketflow.application.pipeline.messages import Batch
from marketflow.application.ports import Series
from marketflow.domain.tick import Ticks

_TICK_BYTES = 80  # two numbers and two places in lists, which grow in leaps
_PIECE_BYTES = 480


class Offers:
    """A queue of at most *max_bytes* that drops its oldest; one thread adds, one takes.

    No lock: each count has one writer, and a deque's ends are safe from any thread.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: deque[tuple[Series, Ticks]] = deque()
        # written by the thread that adds
        self._added_bytes = 0
        self._dropped_bytes = 0
        self.dropped = 0  # ticks
        # written by the thread that takes
        self._taken_bytes = 0

    def add(self, batch: Batch) -> None:
        """Append a batch's ticks."""
        mode, exchange, _ = batch.origin
        for symbol, part in batch.parts.items():
            self._pieces.append((Series(mode, exchange, symbol), part.columns))
            self._added_bytes += _PIECE_BYTES + _TICK_BYTES * part.ticks
        if self.size_bytes() > self._max_bytes:
            self._drop_oldest()

    def take(self) -> dict[Series, list[Ticks]]:
        """Return what was added since, in order."""
        taken: dict[Series, list[Ticks]] = {}
        for _ in range(len(self._pieces)):
            try:
                series, columns = self._pieces.popleft()
            except IndexError:  # dropped meanwhile
                break
            taken.setdefault(series, []).append(columns)
            self._taken_bytes += _PIECE_BYTES + _TICK_BYTES * len(columns.prices)
        return taken

    def size_bytes(self) -> int:
        """Return roughly how much memory waits."""
        return self._added_bytes - self._dropped_bytes - self._taken_bytes

    def _drop_oldest(self) -> None:
        while self.size_bytes() > self._max_bytes:
            try:
                _, columns = self._pieces.popleft()
            except IndexError:  # all taken, though not all counted yet
                break
            self.dropped += len(columns.prices)
            self._dropped_bytes += _PIECE_BYTES + _TICK_BYTES * len(columns.prices)
