"""The route table; it reads like the brief."""

from marketflow.adapters.web.api import PriceApi, ServiceApi, index
from marketflow.adapters.web.router import Handler


def routes(prices: PriceApi, service: ServiceApi, metrics: Handler) -> dict[str, Handler]:
    """Return every route, `METHOD template`, with its handler."""
    table: dict[str, Handler] = {
        "GET /prices/latest/{symbol}": prices.latest,
        "GET /prices/latest/{exchange}/{symbol}": prices.latest,
        "GET /prices/highest/{symbol}": prices.highest,
        "GET /prices/highest/{exchange}/{symbol}": prices.highest,
        "GET /prices/lowest/{symbol}": prices.lowest,
        "GET /prices/lowest/{exchange}/{symbol}": prices.lowest,
        "GET /prices/average/{symbol}": prices.average,
        "GET /prices/average/{exchange}/{symbol}": prices.average,
        "GET /mode": service.mode,
        "POST /mode/test": service.switch_to_test,
        "POST /mode/live": service.switch_to_live,
        "GET /health": service.health,
        "GET /health/live": service.live,
        "GET /health/ready": service.ready,
        "GET /metrics": metrics,
        "GET /symbols": service.symbols,
        "GET /exchanges": service.exchanges,
    }
    return {**table, "GET /": index(table)}
