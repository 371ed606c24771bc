"""The composition root: builds every object, starts them sink first, stops them source first."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from marketflow import __version__
from marketflow.adapters.clock import SystemClock
from marketflow.adapters.exchange.wire import WireDecoder
from marketflow.adapters.storage.data_dir import DataDirInUse, DataDirLock
from marketflow.adapters.web.api import ServiceApi
from marketflow.adapters.web.metrics import HttpMetrics, MetricsPage
from marketflow.application.health import Health
from marketflow.application.modes import Modes
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.collector import Collector
from marketflow.application.pipeline.distributor import Distributor
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.intake import Intake, Plumbing
from marketflow.application.pipeline.loop import Loop
from marketflow.application.pipeline.messages import Batch, Closing, Heard, Reset
from marketflow.application.pipeline.restorer import Restorer
from marketflow.application.queries import Prices
from marketflow.application.state import Market, State
from marketflow.application.supervisor import Supervisor
from marketflow.application.telemetry import Telemetry
from marketflow.config import Config
from marketflow.domain.catalog import Catalog
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from marketflow.process import serve_until_signalled, stay_on_one_cpu
from marketflow.serving import LOOPBACK, server_of
from marketflow.sources import sources_of
from marketflow.stores import publisher_of, stores_of

log = logging.getLogger(__name__)

_CLOSINGS = 1024  # at ten a second the flusher may be busy for minutes
_NOTING_MS = 1_000
_SYNC_S = 1.0


class Service:
    """Every object of one running service. The port is bound at construction, `start` serves.

    Raises:
        OSError: the address is taken or not ours.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = threading.Event()
        self.deadline = 0.0  # of the stop, monotonic; may be brought forward while stopping
        aggregation = config.aggregation
        self._rules = MinuteRules(
            aggregation.interval_ms, aggregation.grace_ms, aggregation.late_intervals
        )
        self._clock = SystemClock(max_step_ms=config.feed.max_clock_skew_ms)
        self._names = {mode: [source.name for source in config.sources.of(mode)] for mode in Mode}
        everyone = [name for names in self._names.values() for name in names]
        self._decoder = WireDecoder(
            Catalog(config.symbols, everyone),
            max_clock_skew_ms=config.feed.max_clock_skew_ms,
            max_line=config.feed.max_line,
        )
        self._telemetry = Telemetry(self._names)
        self._market = Market(self._new_state(config.mode, 0))
        chunks = config.pipeline.queue_chunks
        self._inbox: Channel[Heard] = Channel("inbox", chunks)
        self._batches: Channel[Batch | Reset] = Channel("batches", chunks)
        self._closings: Channel[Closing] = Channel("closings", _CLOSINGS)
        self._stores = stores_of(config, self._clock)
        self._flush = Flusher(
            self._closings,
            outbox=self._stores.outbox,
            store=self._stores.store,
            journal=self._stores.journal,
            retention_ms=self._stores.retention_ms,
            clock=self._clock,
            telemetry=self._telemetry,
        )
        self._publisher = publisher_of(config, self._stores, self._clock)
        self._build_pipeline()
        self._build_web()

    def start(self) -> None:
        """Start the threads, sink first."""
        self._market.restoring = True
        for loop in self._loops:
            loop.start()
        self._server.start()
        self._modes.start()
        http = self._config.http
        host = f"[{http.host}]" if ":" in http.host else http.host
        context = {
            "url": f"http://{host}:{http.port}/",
            "mode": self._modes.mode,
            "data_dir": self._config.data_dir,
        }
        log.info("marketflow started", extra={"version": __version__, **context})
        if not http.admin_token and http.host not in LOOPBACK:
            log.warning("anyone who reaches this address may switch modes: set http.admin_token")

    def stop(self) -> list[str]:
        """Stop the threads, source first; the names of what was alive at the deadline."""
        self._stopping.set()
        stuck = self._modes.stop(self.deadline)
        if not self._server.stop(max(0.1, min(2.0, self.deadline - monotonic()))):
            stuck.append("http-poll")
        self._pool.shutdown(wait=False)
        for loop, channel in (
            (self._distributor, self._inbox),
            (self._collector, self._batches),
            (self._flusher, self._closings),
        ):
            channel.close()
            if not loop.join(self.deadline):
                stuck.append(loop.name)
        if self._publisher is not None:
            self._publisher.close()
        stuck += [loop.name for loop in self._loops if not loop.join(self.deadline)]
        self._stores.close()
        return list(dict.fromkeys(stuck))

    def threads(self) -> tuple[int, int]:
        """Return how many threads there should be, and how many are alive."""
        expected, alive = self._modes.threads()
        own = [loop.alive() for loop in self._loops]
        own += [thread.is_alive() for thread in self._server.threads]
        return expected + len(own), alive + sum(own)

    def channels(self) -> list[Channel[Any]]:
        """Return every channel."""
        return [self._inbox, *self._modes.intake.channels(), self._batches, self._closings]

    def _build_pipeline(self) -> None:
        collector = Collector(
            self._batches,
            self._closings,
            market=self._market,
            rules=self._rules,
            clock=self._clock,
            telemetry=self._telemetry,
            watermark_ms=self._watermark_ms,
            offer=None if self._publisher is None else self._publisher.offer,
        )
        restorer = Restorer(
            self._stores.journal,
            self._decoder.decode,
            rules=self._rules,
            max_clock_skew_ms=self._config.feed.max_clock_skew_ms,
            clock=self._clock,
            market=self._market,
            collector=collector,
            stopping=self._stopping,
        )
        self._modes = Modes(
            self._config.mode,
            new_intake=self._new_intake,
            new_state=self._new_state,
            batches=self._batches,
            market=self._market,
        )
        supervisor = Supervisor(
            modes=self._modes,
            loops=lambda: self._loops,
            clock=self._clock,
            telemetry=self._telemetry,
            stopping=self._stopping,
        )
        self._prices = Prices(
            self._market,
            clock=self._clock,
            store=self._stores.store,
            unstored=(collector.minutes, self._flush.waiting),
            interval_ms=self._rules.interval_ms,
            stale_after_ms=self._config.feed.stale_after_ms,
        )
        self._flusher = Loop("flusher", self._flush.run)

        def collect() -> None:
            restorer.run()  # only the first time
            collector.run()

        self._collector = Loop("collector", collect)
        self._distributor = Loop("distributor", Distributor(self._inbox).run)
        self._loops = [
            Loop("journal-sync", self._sync_journal),
            self._flusher,
            self._collector,
            self._distributor,
            Loop("supervisor", supervisor.run),
        ]
        if self._publisher is not None:
            self._loops.append(Loop("publisher", self._publisher.run))

    def _build_web(self) -> None:
        http = self._config.http
        self._pool = ThreadPoolExecutor(http.workers, thread_name_prefix="http-worker")
        counts = HttpMetrics()
        health = Health(
            market=self._market,
            telemetry=self._telemetry,
            flusher=self._flush,
            journal=self._stores.journal,
            clock=self._clock,
            channels=self.channels,
            threads=self.threads,
            stale_after_ms=self._config.feed.stale_after_ms,
            backend=self._config.storage.backend,
            publisher=self._publisher,
            version=__version__,
        )
        metrics = MetricsPage(
            telemetry=self._telemetry,
            flusher=self._flush,
            journal=self._stores.journal,
            clock=self._clock,
            http=counts,
            connections=lambda: self._server.connections(),  # noqa: PLW0108  there is none yet
            channels=self.channels,
            publisher=self._publisher,
            version=__version__,
        )
        self._server = server_of(
            http,
            prices=self._prices,
            service=ServiceApi(self._modes, health, self._market),
            metrics=metrics,
            counts=counts,
            pool=self._pool,
        )

    def _new_state(self, mode: Mode, intake: int) -> State:
        catalog = Catalog(self._config.symbols, self._names[mode])
        return State(mode, intake, catalog, self._config.window.span_ms)

    def _new_intake(self, mode: Mode, number: int) -> Intake:
        sources = sources_of(mode, self._config, decode=self._decoder.decode, clock=self._clock)
        plumbing = Plumbing(
            inbox=self._inbox,
            batches=self._batches,
            journal=self._stores.journal,
            clock=self._clock,
            telemetry=self._telemetry,
            rules=self._rules,
            workers_per_source=self._config.pipeline.workers_per_source,
            backoff_max_s=self._config.feed.backoff_max_ms / 1000,
        )
        return Intake(mode, number, sources, plumbing)

    def _watermark_ms(self, now_ms: int) -> int:
        oldest_ms = self._modes.intake.oldest_ms()
        # a listener may have read the clock and not yet noted its chunk
        return now_ms - _NOTING_MS if oldest_ms is None else min(oldest_ms, now_ms - _NOTING_MS)

    def _sync_journal(self) -> None:
        while not self._stopping.wait(_SYNC_S):
            self._stores.journal.sync()


def run(config: Config, warnings: list[str]) -> int:
    """Serve until a signal ends it; the exit status: 0 fine, 1 could not start or not stop."""
    sys.setswitchinterval(0.0005)  # the poll thread must get its turn between busy workers
    if config.pipeline.one_cpu:
        stay_on_one_cpu()
    for warning in warnings:
        log.warning(warning)
    lock = DataDirLock(config.data_dir)
    try:
        lock.acquire()
    except DataDirInUse as error:
        return _complain(str(error))
    except StorageUnavailable as error:  # prices can be served all the same; /health says so
        log.error("data directory cannot be used", extra={"reason": str(error)})
    try:
        service = Service(config)
    except ImportError as error:
        return _complain(f"{error.name} is not installed: pip install -r requirements.txt")
    except OSError as error:
        return _complain(
            f"cannot listen on {config.http.host}:{config.http.port}: {error.strerror or error}"
        )
    service.start()
    return serve_until_signalled(service)


def _complain(sentence: str) -> int:
    print(f"marketflow: {sentence}", file=sys.stderr)  # noqa: T201  a start error is for people
    return 1
