"""Mirrors every tick for other programs: best effort, off the way of prices and rows."""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from marketflow.application.pipeline.backlog import Backlog, EntryIds, Flush
from marketflow.application.pipeline.backoff import Backoff
from marketflow.application.pipeline.messages import Batch
from marketflow.application.pipeline.offers import Offers, Piece
from marketflow.application.ports import (
    Clock,
    EncodedTicks,
    Instant,
    MirrorEntry,
    Series,
    TickMirror,
)
from marketflow.domain.errors import CacheUnavailable
from marketflow.domain.tick import TickText

log = logging.getLogger(__name__)

_SEND_BYTES = 262_144  # at once, when catching up
_PING_MS = 1_000
_LAST_S = 2.0  # for catching up when closed
_PATIENCE_S = 0.05  # of the collector, for a mirror that keeps taking
_STUCK_S = 0.1  # without progress, beyond the interval: nobody waits for it any more


class Publisher:
    """Collects ticks and hands them to the mirror every *flush_interval_ms*, one entry per series.

    What is kept encoded takes at most *max_bytes*, and so does what waits to be encoded. When half
    of that waits, a mirror that keeps taking sets the pace: to slow the exchanges down costs no
    tick, and giving ticks up would. Nobody waits for one that is away or stuck.
    """

    def __init__(
        self,
        mirror: TickMirror,
        *,
        clock: Clock,
        flush_interval_ms: int,
        retention_ms: int,
        max_bytes: int,
    ) -> None:
        self._mirror = mirror
        self._clock = clock
        self._interval_s = flush_interval_ms / 1000
        self._catch_up_s = self._interval_s
        self._enough_bytes = max_bytes // 2
        self._offers = Offers(max_bytes)
        self._backlog = Backlog(retention_ms=retention_ms, max_bytes=max_bytes)
        self._ids = EntryIds(retention_ms)
        self._held: dict[Series, int] = {}  # the mirror's newest id when we last connected
        self._backoff = Backoff(0.2, 2.0)
        self._retry_mono = 0
        self._ping_mono = 0
        self._failed_mono = 0
        self._outdated = 0
        self._moved_at = float("-inf")  # when the mirror last took something
        self._took = threading.Event()  # what was offered
        self._wanted = threading.Event()  # a flush, before its time
        self._closing = threading.Event()
        self.problem: str | None = None  # one sentence while ticks are not mirrored
        self.latency_ms: float | None = None  # of the last exchange with the mirror
        self.errors = 0  # attempts that failed

    @property
    def dropped(self) -> int:
        """Ticks given up that the mirror never had."""
        return self._offers.dropped + self._outdated

    @property
    def kept_bytes(self) -> int:
        """Roughly what ticks take in memory, those kept in case the mirror loses them included."""
        return self._offers.size_bytes() + self._backlog.size_bytes

    def offer(self, batch: Batch) -> None:
        """Take note of a batch's ticks, waiting at most 50 ms; for one thread, the collector's."""
        if self._offers.size_bytes() > self._enough_bytes:
            self._wait_for_mirror()
        self._offers.add(batch)

    def run(self) -> None:
        """Flush until closed, then a last time, and close the mirror."""
        while not self._closing.is_set():
            self._wanted.wait(self._interval_s)
            self._wanted.clear()
            if not self._closing.is_set():
                self._step()
        self._retry_mono = 0
        self._catch_up_s = _LAST_S
        self._step()
        self._mirror.close()

    def close(self) -> None:
        """Let `run` end; what is offered afterwards may be lost."""
        self._closing.set()
        self._wanted.set()

    def flush(self, now: Instant) -> None:
        """Encode what was offered, then send what the mirror does not have, oldest first."""
        if self._has_room():
            self._take_offers(now)
        self._outdated += self._backlog.trim(now.mono_ms)
        if now.mono_ms < self._retry_mono:
            return
        started = monotonic()
        try:
            self._catch_up(now.mono_ms, started + self._catch_up_s)
        except CacheUnavailable as error:
            self._fail(str(error), now.mono_ms + round((monotonic() - started) * 1000))

    def _has_room(self) -> bool:
        # what is too much for a mirror that is well is better left where the collector feels it
        well = self.problem is None and not self._closing.is_set()
        return not well or self._backlog.waiting_bytes <= self._enough_bytes

    def _take_offers(self, now: Instant) -> None:
        pieces = self._offers.take()
        self._took.set()
        if pieces:
            self._backlog.add(Flush(now, [_encoded(*item) for item in pieces.items()]))

    def _wait_for_mirror(self) -> None:
        deadline = monotonic() + _PATIENCE_S
        while self.problem is None and monotonic() - self._moved_at < self._interval_s + _STUCK_S:
            self._took.clear()
            left_s = deadline - monotonic()
            if left_s <= 0 or self._offers.size_bytes() <= self._enough_bytes:
                return
            self._wanted.set()
            self._took.wait(left_s)

    def _step(self) -> None:
        now = self._clock.now()
        try:
            self.flush(now)
        except Exception as error:
            log.exception("flush to the mirror failed")
            self._fail(repr(error), now.mono_ms)

    def _catch_up(self, now_mono: int, deadline: float) -> None:
        """Send until nothing waits, or the *deadline* has passed: fresh ticks want encoding."""
        wrote = False
        while flushes := self._backlog.oldest(_SEND_BYTES):
            if wrote and monotonic() >= deadline:
                break
            wrote |= self._send(flushes, now_mono)
            self._backlog.settle(len(flushes))
        if not wrote and now_mono >= self._ping_mono:
            self._timed(self._mirror.ping)
            wrote = True
        if wrote:
            self._ping_mono = now_mono + _PING_MS
            self._succeed(now_mono)

    def _send(self, flushes: Sequence[Flush], now_mono: int) -> bool:
        """Send what the mirror does not have of *flushes*; whether there was any."""
        series = {entry.series for flush in flushes for entry in flush.entries}
        if unknown := series - self._held.keys():
            held = self._mirror.last_ids(unknown)
            # an earlier process may have had a clock ahead of ours
            self._ids.stay_above(max(held.values()))
            self._held |= held
        for flush in flushes:
            flush.id_ms = flush.id_ms or self._ids.give(flush.at)
        entries = [
            MirrorEntry(flush.id_ms, entry)
            for flush in flushes
            for entry in flush.entries
            if flush.id_ms > self._held[entry.series]
        ]
        if entries:
            keep_from_ms = self._ids.keep_from(now_mono)
            self._timed(lambda: self._mirror.send(entries, keep_from_ms))
        return bool(entries)

    def _timed(self, action: Callable[[], None]) -> None:
        started = monotonic()
        action()
        self._moved_at = monotonic()
        self.latency_ms = round((self._moved_at - started) * 1000, 3)

    def _succeed(self, now_mono: int) -> None:
        self._backoff.reset()
        if self.problem is not None:
            self.problem = None
            for_s = round((now_mono - self._failed_mono) / 1000, 1)
            log.info("ticks are mirrored again", extra={"for_s": for_s, "dropped": self.dropped})

    def _fail(self, reason: str, now_mono: int) -> None:
        self.errors += 1
        self._retry_mono = now_mono + round(self._backoff.next() * 1000)
        # it may come back with less than it had: ask again, and send what is missing
        self._held.clear()
        self._backlog.rewind()
        if self.problem is None:
            self._failed_mono = now_mono
            log.warning("ticks are not mirrored", extra={"reason": reason})
        self.problem = reason


def _encoded(series: Series, pieces: Sequence[Piece]) -> EncodedTicks:
    # piece by piece: writing a whole flood at once would keep every other thread waiting
    text = TickText.joined(
        [piece if isinstance(piece, TickText) else TickText.of(piece) for piece in pieces]
    )
    return EncodedTicks(series, *text, *text.last)
