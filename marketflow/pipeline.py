"""From settings to the pipeline: sources, windows, rows, the mirror, the stream."""

import logging
import threading
from typing import Any

from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.application.minutes import Minutes
from marketflow.application.modes import Modes
from marketflow.application.pipeline.broadcaster import Broadcaster
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.collector import Collector
from marketflow.application.pipeline.distributor import Distributor
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.intake import Intake, Plumbing
from marketflow.application.pipeline.loop import Loop
from marketflow.application.pipeline.messages import Batch, Closing, Heard, Reset
from marketflow.application.pipeline.restorer import Restorer
from marketflow.application.ports import Clock
from marketflow.application.queries import Prices
from marketflow.application.state import Market, State
from marketflow.application.telemetry import Telemetry
from marketflow.config import Config
from marketflow.domain.catalog import Catalog
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from marketflow.sources import sources_of
from marketflow.stores import publisher_of, stores_of

log = logging.getLogger(__name__)

_CLOSINGS = 1024  # at ten a second the flusher may be busy for minutes
_NOTING_MS = 1_000
_SYNC_S = 1.0


class Pipeline:
    """The way of the ticks, from the exchanges to everything that can be asked."""

    def __init__(self, config: Config, clock: Clock, stopping: threading.Event) -> None:
        self._config = config
        self._clock = clock
        self._stopping = stopping
        aggregation = config.aggregation
        self._rules = MinuteRules(
            aggregation.interval_ms, aggregation.grace_ms, aggregation.late_intervals
        )
        self._names = {mode: [source.name for source in config.sources.of(mode)] for mode in Mode}
        everyone = [name for names in self._names.values() for name in names]
        self._decoder = WireDecoder(
            Catalog(config.symbols, everyone),
            max_clock_skew_ms=config.feed.max_clock_skew_ms,
            max_line=config.feed.max_line,
        )
        self.telemetry = Telemetry(self._names)
        self.market = Market(self._new_state(config.mode, 0))
        chunks = config.pipeline.queue_chunks
        self._inbox: Channel[Heard] = Channel("inbox", chunks)
        self._batches: Channel[Batch | Reset] = Channel("batches", chunks)
        self._closings: Channel[Closing] = Channel("closings", _CLOSINGS)
        self.stores = stores_of(config, clock)
        self.broadcaster = Broadcaster(
            self.market, self.telemetry, clock=clock, stale_after_ms=config.feed.stale_after_ms
        )
        self.flusher = self._new_flusher()
        self.publisher = publisher_of(config, self.stores, clock)
        self.modes = Modes(
            config.mode,
            new_intake=self._new_intake,
            new_state=self._new_state,
            batches=self._batches,
            market=self.market,
        )
        collector = self._new_collector()
        self._build_answers(collector)
        self._build_loops(collector)

    def stop(self, deadline: float) -> list[str]:
        """End the threads, source first; the names of what was alive at the deadline.

        The intake has been stopped before, by the owner of `modes`.
        """
        stuck = []
        for loop, channel in (
            (self._distributor, self._inbox),
            (self._collector, self._batches),
            (self._flusher, self._closings),
        ):
            channel.close()
            if not loop.join(deadline):
                stuck.append(loop.name)
        if self.publisher is not None:
            self.publisher.close()
        return stuck

    def channels(self) -> list[Channel[Any]]:
        """Return every channel."""
        return [self._inbox, *self.modes.intake.channels(), self._batches, self._closings]

    def _new_flusher(self) -> Flusher:
        return Flusher(
            self._closings,
            outbox=self.stores.outbox,
            store=self.stores.store,
            journal=self.stores.journal,
            retention_ms=self.stores.retention_ms,
            clock=self._clock,
            telemetry=self.telemetry,
            announce=self.broadcaster.stored,
        )

    def _new_collector(self) -> Collector:
        return Collector(
            self._batches,
            self._closings,
            market=self.market,
            rules=self._rules,
            clock=self._clock,
            telemetry=self.telemetry,
            watermark_ms=self._watermark_ms,
            offer=None if self.publisher is None else self.publisher.offer,
        )

    def _build_answers(self, collector: Collector) -> None:
        unstored = (collector.minutes, self.flusher.waiting)
        self.prices = Prices(
            self.market,
            clock=self._clock,
            store=self.stores.store,
            unstored=unstored,
            interval_ms=self._rules.interval_ms,
            stale_after_ms=self._config.feed.stale_after_ms,
        )
        self.minutes = Minutes(
            self.market,
            clock=self._clock,
            store=self.stores.store,
            unstored=unstored,
            rules=self._rules,
        )

    def _build_loops(self, collector: Collector) -> None:
        restorer = Restorer(
            self.stores.journal,
            self._decoder.decode,
            rules=self._rules,
            max_clock_skew_ms=self._config.feed.max_clock_skew_ms,
            clock=self._clock,
            market=self.market,
            collector=collector,
            stopping=self._stopping,
        )

        def collect() -> None:
            restorer.run()  # only the first time
            collector.run()

        self._flusher = Loop("flusher", self.flusher.run)
        self._collector = Loop("collector", collect)
        self._distributor = Loop("distributor", Distributor(self._inbox).run)
        # sink first
        self.loops = [
            Loop("journal-sync", self._sync_journal),
            self._flusher,
            self._collector,
            self._distributor,
        ]
        if self.publisher is not None:
            self.loops.append(Loop("publisher", self.publisher.run))

    def _new_state(self, mode: Mode, intake: int) -> State:
        catalog = Catalog(self._config.symbols, self._names[mode])
        return State(mode, intake, catalog, self._config.window.span_ms)

    def _new_intake(self, mode: Mode, number: int) -> Intake:
        sources = sources_of(mode, self._config, decode=self._decoder.decode, clock=self._clock)
        plumbing = Plumbing(
            inbox=self._inbox,
            batches=self._batches,
            journal=self.stores.journal,
            clock=self._clock,
            telemetry=self.telemetry,
            rules=self._rules,
            workers_per_source=self._config.pipeline.workers_per_source,
            backoff_max_s=self._config.feed.backoff_max_ms / 1000,
        )
        return Intake(mode, number, sources, plumbing)

    def _watermark_ms(self, now_ms: int) -> int:
        oldest_ms = self.modes.intake.oldest_ms()
        # a listener may have read the clock and not yet noted its chunk
        return now_ms - _NOTING_MS if oldest_ms is None else min(oldest_ms, now_ms - _NOTING_MS)

    def _sync_journal(self) -> None:
        while not self._stopping.wait(_SYNC_S):
            self.stores.journal.sync()
