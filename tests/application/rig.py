"""The pipeline without its threads: the real parts, put together, each step called by the test."""

import threading

from marketflow.application.pipeline.backoff import Backoff
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.collector import Collector
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.lane import Lane
from marketflow.application.pipeline.listener import Listener
from marketflow.application.pipeline.messages import Origin, Reset
from marketflow.application.pipeline.restorer import Restorer
from marketflow.application.pipeline.workers import Workers
from marketflow.application.queries import Prices
from marketflow.application.state import Market, State
from marketflow.application.telemetry import Telemetry
from marketflow.domain.catalog import Catalog
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tests.fake_sources import EXCHANGES, SYMBOLS, ListSource, wire_decoder
from tests.fakes import ManualClock, MemoryJournal, MemoryMinuteStore, MemoryOutbox

NOTING_MS = 1_000


class Feed:
    """One source of a rig: its chunks go through the real listener and the real worker."""

    def __init__(self, rig, exchange, mode, intake, decode):
        self.rig = rig
        self.lane = Lane(Origin(mode, exchange, intake))
        self.inbox = Channel("inbox", 64)
        self.listener = Listener(
            ListSource(exchange, decode=decode),
            self.lane,
            journal=rig.journal,
            inbox=self.inbox,
            clock=rig.clock,
            feed=rig.telemetry.feeds[exchange],
            backoff=Backoff(0.5, 5.0),
        )
        self.workers = Workers(
            self.lane, decode, count=1, rules=rig.rules, batches=rig.collector_channel
        )

    def hear(self, chunk):
        """Number, stamp and journal *chunk* now; the batch it becomes is for `Rig.receive`."""
        self.listener._hear(chunk)
        return self.workers._process(self.inbox.get())


class Rig:
    """Everything between a chunk and the store; journal, outbox and store may be given."""

    def __init__(
        self,
        *,
        clock=None,
        rules=None,
        span_ms=300_000,
        journal=None,
        outbox=None,
        store=None,
        symbols=SYMBOLS,
        skew_ms=60_000,
        stopping=None,
    ):
        self.clock = clock or ManualClock()
        self.rules = rules or MinuteRules()
        self.span_ms = span_ms
        self.symbols = symbols
        self.journal = journal or MemoryJournal()
        self.outbox = outbox or MemoryOutbox()
        self.store = store or MemoryMinuteStore()
        self.telemetry = Telemetry({Mode.LIVE: list(EXCHANGES), Mode.TEST: list(EXCHANGES)})
        self.decode = wire_decoder(symbols, max_clock_skew_ms=skew_ms).decode
        self.market = Market(self.new_state(Mode.LIVE, 0))
        self.collector_channel = Channel("batches", 256)
        self.closings = Channel("closings", 64)
        self.feeds = []
        self.collector = Collector(
            self.collector_channel,
            self.closings,
            market=self.market,
            rules=self.rules,
            clock=self.clock,
            telemetry=self.telemetry,
            watermark_ms=self.watermark_ms,
        )
        retention = (self.rules.late_intervals + 1) * self.rules.interval_ms + self.rules.grace_ms
        self.flusher = Flusher(
            self.closings,
            outbox=self.outbox,
            store=self.store,
            journal=self.journal,
            retention_ms=max(span_ms, retention + skew_ms),
            clock=self.clock,
            telemetry=self.telemetry,
        )
        self.prices = Prices(
            self.market,
            clock=self.clock,
            store=self.store,
            unstored=(self.collector.minutes, self.flusher.waiting),
            interval_ms=self.rules.interval_ms,
            stale_after_ms=5_000,
        )
        self.restorer = Restorer(
            self.journal,
            self.decode,
            rules=self.rules,
            max_clock_skew_ms=skew_ms,
            clock=self.clock,
            market=self.market,
            collector=self.collector,
            stopping=stopping or threading.Event(),
        )

    def new_state(self, mode, intake):
        return State(mode, intake, Catalog(self.symbols, EXCHANGES), self.span_ms)

    def feed(self, exchange=EXCHANGES[0], *, mode=Mode.LIVE, intake=0, decode=None):
        feed = Feed(self, exchange, mode, intake, decode or self.decode)
        self.feeds.append(feed)
        return feed

    def receive(self, *batches):
        for batch in batches:
            self.collector.receive(batch)

    def switch(self, mode, intake):
        """Do what a mode switch does to the collector; return the state it put in place."""
        reset = Reset(self.new_state(mode, intake))
        self.collector.receive(reset)
        assert reset.done.is_set()
        return reset.state

    def watermark_ms(self, now_ms):
        ages = [age for feed in self.feeds if (age := feed.lane.oldest_ms()) is not None]
        return min([*ages, now_ms - NOTING_MS])

    def flush(self, now=0.0):
        """Close the due minutes and flush them; the rows that came out."""
        self.collector.close_minutes(self.clock.now())
        closings = self.closings.take(64, 0.0)
        self.flusher.flush(closings, now)
        return [row for closing in closings for row in closing.rows]

    def finish(self):
        """Stop as the service does: everything is handed out, then flushed a last time."""
        self.collector_channel.close()
        self.collector.run()
        self.closings.close()
        self.flusher.run()
