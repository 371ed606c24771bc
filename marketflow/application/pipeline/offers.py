"""Ticks on their way from the collector to the publisher: bounded, and nobody waits here."""

from collections import deque
from typing import NamedTuple

from marketflow.application.pipeline.messages import Batch
from marketflow.application.ports import Series
from marketflow.domain.mode import Mode
from marketflow.domain.tick import Ticks, TickText

_TICK_BYTES = 80  # two numbers and two places in lists, which grow in leaps
_PIECE_BYTES = 480

Piece = TickText | Ticks  # a chunk's ticks of one pair, as text where the exchange's can be used


class _Offer(NamedTuple):
    mode: Mode
    exchange: str
    pieces: dict[str, Piece]
    ticks: int
    size_bytes: int


class Offers:
    """A queue of at most *max_bytes* that drops its oldest; one thread adds, one takes.

    No lock: each count has one writer, and a deque's ends are safe from any thread.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._offers: deque[_Offer] = deque()
        # written by the thread that adds
        self._added_bytes = 0
        self._dropped_bytes = 0
        self.dropped = 0  # ticks
        # written by the thread that takes
        self._taken_bytes = 0

    def add(self, batch: Batch) -> None:
        """Append a batch's ticks."""
        mode, exchange, _ = batch.origin
        pieces: dict[str, Piece] = {}
        ticks = 0
        size = _PIECE_BYTES * len(batch.parts)
        for symbol, part in batch.parts.items():
            every = pieces[symbol] = part.every
            ticks += part.ticks
            if isinstance(every, TickText):
                size += len(every.timestamps_ms) + len(every.prices)
            else:
                size += _TICK_BYTES * part.ticks
        self._offers.append(_Offer(mode, exchange, pieces, ticks, size))
        self._added_bytes += size
        if self.size_bytes() > self._max_bytes:
            self._drop_oldest()

    def take(self) -> dict[Series, list[Piece]]:
        """Return what was added since, in order."""
        taken: dict[tuple[Mode, str], dict[str, list[Piece]]] = {}
        for _ in range(len(self._offers)):
            try:
                mode, exchange, pieces, _, size = self._offers.popleft()
            except IndexError:  # dropped meanwhile
                break
            of_exchange = taken.setdefault((mode, exchange), {})
            for symbol, piece in pieces.items():
                of_exchange.setdefault(symbol, []).append(piece)
            self._taken_bytes += size
        return {
            Series(*origin, symbol): pieces
            for origin, of_exchange in taken.items()
            for symbol, pieces in of_exchange.items()
        }

    def size_bytes(self) -> int:
        """Return roughly how much memory waits."""
        return self._added_bytes - self._dropped_bytes - self._taken_bytes

    def _drop_oldest(self) -> None:
        while self.size_bytes() > self._max_bytes:
            try:
                offer = self._offers.popleft()
            except IndexError:  # all taken, though not all counted yet
                break
            self.dropped += offer.ticks
            self._dropped_bytes += offer.size_bytes
