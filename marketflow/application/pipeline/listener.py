"""Listens to one exchange for ever: connects, hears, waits, connects again."""

import logging
import threading
from time import monotonic

from marketflow.application.pipeline.backoff import Backoff
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.messages import Heard
from marketflow.application.ports import Clock, Journal, JournalRecord, TickSource
from marketflow.application.telemetry import Feed
from marketflow.domain.errors import FeedLost

log = logging.getLogger(__name__)

_new = tuple.__new__  # a named tuple's own constructor takes twice as long


class Listener:
    """Numbers, stamps and journals every chunk of one source before it is queued."""

    def __init__(
        self,
        source: TickSource,
        lane: Lane,
        *,
        journal: Journal,
        inbox: Channel[Heard],
        clock: Clock,
        feed: Feed,
        backoff: Backoff,
    ) -> None:
        self._source = source
        self._lane = lane
        self._journal = journal
        self._inbox = inbox
        self._clock = clock
        self._feed = feed
        self._backoff = backoff
        self._closed = threading.Event()
        self._number = 0
        self._lost_at: float | None = None
        self._connected_before = False
        self._context = {"source": source.exchange, "address": source.address}

    def run(self) -> None:
        """Listen until closed."""
        while not self._closed.is_set():
            aggregated = self._feed.aggregated
            try:
                self._listen()
            except FeedLost as error:
                self._note_loss(str(error))
            except Exception as error:
                if self._lost_at is None:
                    log.exception("source failed", extra=self._context)
                self._note_loss(str(error))
            finally:
                self._feed.connected = False
            if self._feed.aggregated > aggregated:  # only a valid tick proves a feed healthy
                self._backoff.reset()
            self._closed.wait(self._backoff.next())

    def close(self) -> None:
        """End `run` soon; what was heard stays queued."""
        self._closed.set()
        self._source.close()

    def _listen(self) -> None:
        for chunk in self._source.chunks():
            if not self._feed.connected:
                self._note_connection()
            if chunk:
                self._hear(chunk)

    def _hear(self, chunk: bytes) -> None:
        mono_ms, wall_ms = self._clock.now()
        lane, number = self._lane, self._number
        mode, exchange, _ = lane.origin
        lane.enter(wall_ms)
        try:
            self._journal.append(_new(JournalRecord, (mode, exchange, number, wall_ms, chunk)))
            lane.wait_for_slot()
            self._feed.received += chunk.count(b"\n")
            self._inbox.put(Heard(lane, number, wall_ms, mono_ms, chunk))
        except BaseException:
            lane.withdraw()
            raise
        self._number = number + 1  # only now: a number without its batch would hold up all others

    def _note_connection(self) -> None:
        self._feed.connected = True
        self._feed.reconnects += self._connected_before
        self._connected_before = True
        if self._lost_at is None:
            log.info("source connected", extra=self._context)
            return
        for_s = round(monotonic() - self._lost_at, 1)
        log.info("source connected again", extra={**self._context, "for_s": for_s})
        self._lost_at = None

    def _note_loss(self, reason: str) -> None:
        if self._lost_at is None and not self._closed.is_set():
            self._lost_at = monotonic()
            log.warning(
                "source lost, trying again until it answers",
                extra={**self._context, "reason": reason},
            )
