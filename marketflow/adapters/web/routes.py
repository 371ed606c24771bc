"""The route table; it reads like the brief."""

from dataclasses import dataclass

from marketflow.adapters.web.api import PriceApi, ServiceApi, index
from marketflow.adapters.web.assets import AssetApi
from marketflow.adapters.web.docs import DocsApi
from marketflow.adapters.web.history import HistoryApi
from marketflow.adapters.web.router import Handler
from marketflow.adapters.web.sse import StreamApi
from marketflow.adapters.web.udf import UdfApi


@dataclass(frozen=True, slots=True)
class Apis:
    """Who answers."""

    prices: PriceApi
    history: HistoryApi
    udf: UdfApi
    assets: AssetApi | None  # None: there are no asset prices
    stream: StreamApi
    service: ServiceApi
    metrics: Handler
    docs: DocsApi


def routes(apis: Apis) -> dict[str, Handler]:
    """Return every route, `METHOD template`, with its handler."""
    prices, history, udf, service = apis.prices, apis.history, apis.udf, apis.service
    table: dict[str, Handler] = {
        "GET /prices/latest": prices.everything,
        "GET /prices/latest/{symbol}": prices.latest,
        "GET /prices/latest/{exchange}/{symbol}": prices.latest,
        "GET /prices/highest/{symbol}": prices.highest,
        "GET /prices/highest/{exchange}/{symbol}": prices.highest,
        "GET /prices/lowest/{symbol}": prices.lowest,
        "GET /prices/lowest/{exchange}/{symbol}": prices.lowest,
        "GET /prices/average/{symbol}": prices.average,
        "GET /prices/average/{exchange}/{symbol}": prices.average,
        "GET /prices/stats/{symbol}": prices.stats,
        "GET /prices/stats/{exchange}/{symbol}": prices.stats,
        **_asset_routes(apis.assets),
        "GET /history/{symbol}": history.rows,
        "GET /candles/{symbol}": history.candles,
        "GET /gaps/{symbol}": history.gaps,
        "GET /udf/config": udf.config,
        "GET /udf/time": udf.time,
        "GET /udf/symbols": udf.symbols,
        "GET /udf/search": udf.search,
        "GET /udf/history": udf.history,
        "GET /stream": apis.stream.stream,
        "GET /mode": service.mode,
        "POST /mode/test": service.switch_to_test,
        "POST /mode/live": service.switch_to_live,
        "GET /health": service.health,
        "GET /health/live": service.live,
        "GET /health/ready": service.ready,
        "GET /metrics": apis.metrics,
        "GET /symbols": service.symbols,
        "GET /exchanges": service.exchanges,
        "GET /openapi.json": apis.docs.openapi,
        "GET /docs": apis.docs.page,
        "GET /static/{file}": apis.docs.file,
    }
    return {**table, "GET /": index(table)}


def _asset_routes(assets: AssetApi | None) -> dict[str, Handler]:
    if assets is None:
        return {}
    return {
        "GET /prices/{asset}": assets.price,
        "GET /prices": assets.some,
        "POST /refresh/{asset}": assets.refresh,
        "GET /assets": assets.listing,
        "GET /assets/{asset}/history": assets.history,
    }
