"""After a restart: the journal's chunks, through the same decoding and folding as live ones."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from marketflow.application.pipeline.collector import Collector
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.messages import Batch, Heard, Origin
from marketflow.application.ports import Clock, Journal, JournalRecord
from marketflow.application.state import Market
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from marketflow.domain.tick import Decoded

log = logging.getLogger(__name__)

_NO_INTAKE = -1  # feeds minutes, not windows


class Restorer:
    """Rebuilds the open minutes of both modes, and the start mode's windows."""

    def __init__(
        self,
        journal: Journal,
        decode: Callable[[bytes, int], Decoded],
        *,
        rules: MinuteRules,
        max_clock_skew_ms: int,
        clock: Clock,
        market: Market,
        collector: Collector,
        stopping: threading.Event,
    ) -> None:
        self._journal = journal
        self._decode = decode
        self._rules = rules
        self._max_clock_skew_ms = max_clock_skew_ms
        self._clock = clock
        self._market = market
        self._collector = collector
        self._stopping = stopping
        self._lanes: dict[tuple[Mode, str], Lane] = {}
        self._done = False
        self._failed = 0

    def run(self) -> None:
        """Replay once; a second call does nothing."""
        if self._done:
            return
        self._done = True
        started, chunks, interrupted = monotonic(), 0, False
        try:
            # a chunk may hold ticks of a minute that begins so much after its receipt
            complete_from_ms = self._journal.complete_from_ms() + self._max_clock_skew_ms
            for record in self._journal.replay():
                if self._stopping.is_set():
                    interrupted = True
                    break
                self._restore(record, complete_from_ms)
                chunks += 1
        except Exception:
            log.exception("journal could not be replayed to its end")
        finally:
            # while it is, no minute counts as complete, and the journal keeps all it has
            self._market.restoring = interrupted
            self._market.restored_mono = self._clock.now().mono_ms
        if chunks:
            took_s = round(monotonic() - started, 3)
            context = {"chunks": chunks, "failed": self._failed, "took_s": took_s}
            log.info("journal replayed", extra=context)

    def _restore(self, record: JournalRecord, complete_from_ms: int) -> None:
        lane = self._lanes.get((record.mode, record.source)) or self._new_lane(record)
        now = self._clock.now()
        # a clock that was ahead must not put windows into the future
        received_mono = now.mono_ms - max(0, now.wall_ms - record.received_ms)
        heard = Heard(lane, record.number, record.received_ms, received_mono, record.chunk)
        try:
            decoded = self._decode(record.chunk, record.received_ms)
            batch = Batch.of(heard, decoded, self._rules)
        except Exception:  # as its worker did: one chunk must not cost those after it
            if not self._failed:
                log.exception("journaled chunk failed", extra={"source": record.source})
            self._failed += 1
            return
        self._collector.restore(batch, complete_from_ms)

    def _new_lane(self, record: JournalRecord) -> Lane:
        state = self._market.state
        answers = record.mode == state.mode and record.source in state.catalog.exchanges
        origin = Origin(record.mode, record.source, state.intake if answers else _NO_INTAKE)
        lane = self._lanes[record.mode, record.source] = Lane(origin)
        return lane
