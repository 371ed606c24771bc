"""From settings to the HTTP server with its routes, and what it tells of the service itself."""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from marketflow import __version__
from marketflow.adapters.web.api import PriceApi, ServiceApi
from marketflow.adapters.web.assets import AssetApi
from marketflow.adapters.web.docs import DocsApi, static_files
from marketflow.adapters.web.failures import problem
from marketflow.adapters.web.guards import LOOPBACK_NAMES, guards_for
from marketflow.adapters.web.history import HistoryApi
from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.metrics import HttpMetrics, MetricsPage
from marketflow.adapters.web.router import Router
from marketflow.adapters.web.routes import Apis, routes
from marketflow.adapters.web.server import Server
from marketflow.adapters.web.sse import EventStream, StreamApi
from marketflow.adapters.web.udf import UdfApi
from marketflow.application.assets.service import Assets
from marketflow.application.candles import Candles
from marketflow.application.gaps import Gaps
from marketflow.application.health import Health
from marketflow.application.history import History
from marketflow.application.ports import Clock
from marketflow.config import Config
from marketflow.domain.period import Period
from marketflow.options import HttpSettings
from marketflow.pipeline import Pipeline
from marketflow.settings import ConfigError, duration_text

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OPENAPI = Path(__file__).resolve().parents[1] / "openapi.json"


def server_of(
    config: Config,
    pipeline: Pipeline,
    assets: Assets | None,
    *,
    clock: Clock,
    pool: Executor,
    threads: Callable[[], tuple[int, int]],
) -> Server:
    """Return the server, its address bound; *threads* tells how many there should be, and are.

    Raises:
        ConfigError: a file that belongs to the service is missing.
        OSError: the address is taken or not ours.
    """
    http = config.http
    counts = HttpMetrics()
    health = _health_of(config, pipeline, assets, clock=clock, threads=threads)
    metrics = _metrics_of(pipeline, assets, counts, clock=clock, server=lambda: server)
    stream = _stream_of(http, pipeline, clock)
    apis = Apis(
        prices=_price_api_of(http, pipeline),
        history=_history_api_of(pipeline),
        udf=UdfApi(pipeline.market, Candles(pipeline.minutes), clock),
        assets=None if assets is None else AssetApi(assets.prices, assets.refreshes),
        stream=StreamApi(stream, pipeline.market),
        service=ServiceApi(pipeline.modes, health, pipeline.market),
        metrics=metrics,
        docs=_docs_api(),
    )
    server = Server(
        (http.host, http.port),
        _router_of(http, apis, pool),
        refuse=problem,
        observe=counts.observe,
        limits=_limits_of(http),
        reuse_port=http.reuse_port,
        stream=stream,
    )
    return server


def _health_of(
    config: Config,
    pipeline: Pipeline,
    assets: Assets | None,
    *,
    clock: Clock,
    threads: Callable[[], tuple[int, int]],
) -> Health:
    return Health(
        market=pipeline.market,
        telemetry=pipeline.telemetry,
        flusher=pipeline.flusher,
        journal=pipeline.stores.journal,
        clock=clock,
        channels=pipeline.channels,
        threads=threads,
        stale_after_ms=config.feed.stale_after_ms,
        backend=config.storage.backend,
        publisher=pipeline.publisher,
        assets=None if assets is None else assets.report,
        version=__version__,
    )


def _metrics_of(
    pipeline: Pipeline,
    assets: Assets | None,
    counts: HttpMetrics,
    *,
    clock: Clock,
    server: Callable[[], Server],
) -> MetricsPage:
    return MetricsPage(
        telemetry=pipeline.telemetry,
        flusher=pipeline.flusher,
        journal=pipeline.stores.journal,
        clock=clock,
        http=counts,
        # it is made after the page
        connections=lambda: server().connections(),
        subscribers=lambda: server().subscribers(),
        channels=pipeline.channels,
        publisher=pipeline.publisher,
        assets=assets,
        version=__version__,
    )


def _stream_of(http: HttpSettings, pipeline: Pipeline, clock: Clock) -> EventStream:
    return EventStream(
        pipeline.broadcaster,
        start_ms=clock.now().wall_ms,
        interval_s=http.stream_interval_ms / 1000,
    )


def _limits_of(http: HttpSettings) -> Limits:
    return Limits(
        max_connections=http.max_connections,
        request_timeout=http.request_timeout_ms / 1000,
        idle_timeout=http.idle_timeout_ms / 1000,
    )


def _price_api_of(http: HttpSettings, pipeline: Pipeline) -> PriceApi:
    return PriceApi(
        pipeline.prices,
        default=Period(duration_text(http.default_period_ms), http.default_period_ms),
        max_period_ms=http.max_period_ms,
    )


def _history_api_of(pipeline: Pipeline) -> HistoryApi:
    minutes = pipeline.minutes
    return HistoryApi(History(minutes), Candles(minutes), Gaps(minutes))


def _docs_api() -> DocsApi:
    try:
        return DocsApi(_OPENAPI.read_bytes(), static_files())
    except OSError as error:
        raise ConfigError(f"{error.filename} must be there: {error.strerror}") from error


def _router_of(http: HttpSettings, apis: Apis, pool: Executor) -> Router:
    hosts = http.allowed_hosts or (LOOPBACK_NAMES if http.host in LOOPBACK else ())
    return Router(
        routes(apis),
        pool=pool,
        guards=guards_for(hosts, http.admin_token),
        origins=http.cors_origins,
    )
