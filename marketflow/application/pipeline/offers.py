"""Ticks on their way from the collector to the publisher: bounded, and nobody waits here."""

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from marketflow.application.pipeline.messages import Batch
from marketflow.application.ports import Series
from marketflow.domain.mode import Mode
from marketflow.domain.tick import Ticks, TickText

_TICK_BYTES = 80  # two numbers and two places in lists, which grow in leaps
_PIECE_BYTES = 480

_TURN_BYTES = 600
_TURN_TICK_BYTES = 160  # two texts, and their places in lists

# symbols, timestamps and prices of some pairs, a tick of each
_Texts = tuple[Sequence[str], Sequence[bytes], Sequence[bytes]]
Piece = TickText | Ticks  # a chunk's ticks of one pair, as text where the exchange's can be used


class _Offer(NamedTuple):
    mode: Mode
    exchange: str
    pieces: dict[str, Piece]
    turns: list[_Texts]
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
        turns = [(turn.symbols, turn.time_texts, turn.price_texts) for turn in batch.turns]
        ticks = sum(len(turn.prices) for turn in batch.turns)
        size = _TURN_BYTES * len(turns) + _TURN_TICK_BYTES * ticks
        pieces: dict[str, Piece] = {}
        size += _PIECE_BYTES * len(batch.parts)
        for symbol, part in batch.parts.items():
            every = pieces[symbol] = part.every
            ticks += part.ticks
            if isinstance(every, TickText):
                size += len(every.timestamps_ms) + len(every.prices)
            else:
                size += _TICK_BYTES * part.ticks
        self._offers.append(_Offer(mode, exchange, pieces, turns, ticks, size))
        self._added_bytes += size
        if self.size_bytes() > self._max_bytes:
            self._drop_oldest()

    def take(self) -> dict[Series, list[Piece]]:
        """Return what was added since, in order."""
        taken: dict[tuple[Mode, str], list[_Offer]] = {}
        for _ in range(len(self._offers)):
            try:
                offer = self._offers.popleft()
            except IndexError:  # dropped meanwhile
                break
            taken.setdefault((offer.mode, offer.exchange), []).append(offer)
            self._taken_bytes += offer.size_bytes
        return {
            Series(*origin, symbol): pieces
            for origin, offers in taken.items()
            for symbol, pieces in _by_pair(offers).items()
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


def _by_pair(offers: Sequence[_Offer]) -> dict[str, list[Piece]]:
    found: dict[str, list[Piece]] = {}
    turns: list[_Texts] = []
    for offer in offers:
        if offer.pieces:
            _join(turns, found)
            turns = []
        for symbol, piece in offer.pieces.items():
            found.setdefault(symbol, []).append(piece)
        turns += offer.turns
    _join(turns, found)
    return found


def _join(turns: Sequence[_Texts], found: dict[str, list[Piece]]) -> None:
    # of the same pairs again and again, each pair's texts become one
    for symbols, group in groupby(turns, key=itemgetter(0)):
        _, *columns = zip(*group, strict=True)
        times, prices = (zip(*column, strict=True) for column in columns)
        for symbol, *texts in zip(symbols, times, prices, strict=True):
            found.setdefault(symbol, []).append(TickText(*map(b",".join, texts)))
