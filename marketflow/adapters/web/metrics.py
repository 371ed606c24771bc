"""`/metrics`: the Prometheus text exposition format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from marketflow.adapters.web.asset_metrics import asset_lines
from marketflow.adapters.web.exposition import Sample, counter, gauge, head, histogram
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.response import Response
from marketflow.application.assets.service import Assets
from marketflow.application.pipeline.channel import Channel
from marketflow.application.pipeline.flusher import Flusher
from marketflow.application.pipeline.publisher import Publisher
from marketflow.application.ports import Clock, Journal
from marketflow.application.telemetry import Feed, Histogram, Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})


class HttpMetrics:
    """Counts answers; told of each by the server, on its poll thread."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        self.durations = Histogram()

    def observe(self, request: Request | None, response: Response, seconds: float) -> None:
        """Count one answer."""
        route = method = "other"
        if request is not None:
            route = request.route
            if request.method in _METHODS:
                method = request.method
        key = (route, method, response.status)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.durations.observe(seconds)


class MetricsPage:
    """Writes every number the service counts."""

    def __init__(  # noqa: PLR0913  it looks at everything
        self,
        *,
        telemetry: Telemetry,
        flusher: Flusher,
        journal: Journal,
        clock: Clock,
        http: HttpMetrics,
        connections: Callable[[], int],
        subscribers: Callable[[], int],
        channels: Callable[[], Iterable[Channel[Any]]],
        version: str,
        publisher: Publisher | None = None,
        assets: Assets | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._flusher = flusher
        self._journal = journal
        self._http = http
        self._connections = connections
        self._subscribers = subscribers
        self._channels = channels
        self._publisher = publisher
        self._assets = assets
        self._version = version
        self._started_s = clock.now().wall_ms / 1000

    def __call__(self, _: Request) -> Response:
        """Answer `GET /metrics`."""
        text = "".join(f"{line}\n" for line in self._lines())
        return Response(200, text.encode(), CONTENT_TYPE)

    def _lines(self) -> Iterator[str]:
        yield from self._feed_lines()
        yield from self._storage_lines()
        yield from self._http_lines()
        if self._assets is not None:
            yield from asset_lines(self._assets)
        yield from self._process_lines()

    def _feed_lines(self) -> Iterator[str]:
        feeds = list(self._telemetry.feeds.values())

        def each(value: Callable[[Feed], float | None]) -> list[Sample]:
            found = ((feed.exchange, value(feed)) for feed in feeds)
            return [({"source": name}, number) for name, number in found if number is not None]

        rejects: list[Sample] = [
            ({"source": feed.exchange, "reason": reason}, lines)
            for feed in feeds
            for reason, lines in sorted(feed.rejects.copy().items())
        ]
        yield from counter("ticks_received", "Lines received.", each(lambda f: f.received))
        yield from counter("ticks_rejected", "Lines that are no valid tick.", rejects)
        yield from counter("ticks_late", "Ticks too late for a row.", each(lambda f: f.late))
        yield from counter(
            "ticks_aggregated", "Ticks in windows and rows.", each(lambda f: f.aggregated)
        )
        yield from gauge(
            "ticks_in_flight", "Lines not yet accounted for.", each(lambda f: f.in_flight())
        )
        yield from gauge("feed_connected", "1 while connected.", each(lambda f: f.connected))
        yield from counter(
            "feed_reconnects", "Connections after the first.", each(lambda f: f.reconnects)
        )
        yield from gauge(
            "feed_last_tick_timestamp_seconds",
            "The newest tick's own time.",
            each(lambda f: None if f.last_tick_ms is None else f.last_tick_ms / 1000),
        )
        yield from head("feed_latency_seconds", "histogram", "Receipt minus the tick's own time.")
        for feed in feeds:
            yield from histogram("feed_latency_seconds", feed.latency, {"source": feed.exchange})

    def _storage_lines(self) -> Iterator[str]:
        telemetry, journal = self._telemetry, self._journal.status()
        yield from counter(
            "ticks_replayed", "Ticks restored from the journal.", [({}, telemetry.replayed)]
        )
        yield from counter(
            "rows_stored", "Rows the store acknowledged.", [({}, telemetry.rows_stored)]
        )
        yield from counter("rows_dropped", "Rows given up.", [({}, telemetry.rows_dropped)])
        yield from counter(
            "store_errors", "Attempts the store failed.", [({}, telemetry.store_errors)]
        )
        yield from gauge(
            "outbox_rows",
            "Rows the store does not have yet.",
            [({}, self._flusher.waiting_count())],
        )
        yield from gauge(
            "parked_rows", "Rows the store refuses.", [({}, self._flusher.parked_count())]
        )
        errors = 0 if self._publisher is None else self._publisher.errors
        if self._assets is not None and self._assets.sharing is not None:
            errors += self._assets.sharing.errors
        yield from counter("cache_errors", "Attempts the cache failed.", [({}, errors)])
        yield from gauge("journal_bytes", "Size of the journal.", [({}, journal.size_bytes)])
        yield from counter(
            "journal_lost_chunks", "Chunks not journaled.", [({}, journal.lost_chunks)]
        )
        yield from gauge(
            "channel_depth",
            "Items waiting.",
            [({"channel": channel.name}, channel.depth()) for channel in self._channels()],
        )
        yield from counter(
            "thread_restarts", "Threads that died.", [({}, telemetry.thread_restarts)]
        )

    def _http_lines(self) -> Iterator[str]:
        requests: list[Sample] = [
            ({"route": route, "method": method, "code": str(code)}, count)
            for (route, method, code), count in sorted(self._http.requests.copy().items())
        ]
        yield from counter("http_requests", "Answers.", requests)
        name = "http_request_duration_seconds"
        yield from head(name, "histogram", "From the last byte of a request to its answer.")
        yield from histogram(name, self._http.durations, {})
        yield from gauge("http_connections", "Clients.", [({}, self._connections())])
        yield from gauge("stream_subscribers", "Clients of /stream.", [({}, self._subscribers())])

    def _process_lines(self) -> Iterator[str]:
        yield from gauge("build_info", "The version.", [({"version": self._version}, 1)])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
        virtual, resident = (int(count) * resource.getpagesize() for count in pages[:2])
        cpu_s = round(usage.ru_utime + usage.ru_stime, 3)
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        for name, kind, text, value in (
            ("process_cpu_seconds_total", "counter", "User and system time.", cpu_s),
            ("process_resident_memory_bytes", "gauge", "Resident memory.", resident),
            ("process_virtual_memory_bytes", "gauge", "Virtual memory.", virtual),
            ("process_open_fds", "gauge", "Open descriptors.", descriptors),
            ("process_max_fds", "gauge", "Descriptor limit.", limit),
            (
                "process_start_time_seconds",
                "gauge",
                "Start, seconds since the epoch.",
                self._started_s,
            ),
        ):
            yield f"# HELP {name} {text}"
            yield f"# TYPE {name} {kind}"
            yield f"{name} {value}"
