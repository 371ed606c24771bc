"""From settings to the HTTP server with its routes."""

from concurrent.futures import Executor

from marketflow.adapters.web.api import PriceApi, ServiceApi
from marketflow.adapters.web.failures import problem
from marketflow.adapters.web.guards import LOOPBACK_NAMES, guards_for
from marketflow.adapters.web.limits import Limits
from marketflow.adapters.web.metrics import HttpMetrics
from marketflow.adapters.web.router import Handler, Router
from marketflow.adapters.web.routes import routes
from marketflow.adapters.web.server import Server
from marketflow.application.queries import Prices
from marketflow.domain.period import Period
from marketflow.options import HttpSettings
from marketflow.settings import duration_text

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def server_of(
    http: HttpSettings,
    *,
    prices: Prices,
    service: ServiceApi,
    metrics: Handler,
    counts: HttpMetrics,
    pool: Executor,
) -> Server:
    """Return the server, its address bound.

    Raises:
        OSError: the address is taken or not ours.
    """
    price_api = PriceApi(
        prices,
        default=Period(duration_text(http.default_period_ms), http.default_period_ms),
        max_period_ms=http.max_period_ms,
    )
    hosts = http.allowed_hosts or (LOOPBACK_NAMES if http.host in LOOPBACK else ())
    return Server(
        (http.host, http.port),
        Router(
            routes(price_api, service, metrics),
            pool=pool,
            guards=guards_for(hosts, http.admin_token),
        ),
        refuse=problem,
        observe=counts.observe,
        limits=Limits(
            max_connections=http.max_connections,
            request_timeout=http.request_timeout_ms / 1000,
            idle_timeout=http.idle_timeout_ms / 1000,
        ),
        reuse_port=http.reuse_port,
    )
