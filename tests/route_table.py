"""The routes there are, without a service behind them."""

from typing import get_type_hints

from marketflow.adapters.web.assets import AssetApi
from marketflow.adapters.web.metrics import MetricsPage
from marketflow.adapters.web.router import Handler
from marketflow.adapters.web.routes import Apis, routes


def handlers() -> dict[str, Handler]:
    """Return every route with its handler, which must not be called."""
    # the handlers are named, never called: they need nothing to work with
    kinds = {**get_type_hints(Apis), "assets": AssetApi, "metrics": MetricsPage}
    return routes(Apis(**{name: kind.__new__(kind) for name, kind in kinds.items()}))
