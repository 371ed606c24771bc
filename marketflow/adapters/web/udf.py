"""The TradingView UDF protocol: what charting clients ask, in seconds.

Clients judge the body alone, so every answer is a 200; they send parameters they have no value for
empty, and times before the epoch.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from math import ceil, floor, log10

from marketflow.adapters.web.failures import NO_STORE
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.query import parameters
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.router import Later
from marketflow.application.candles import Candles
from marketflow.application.ports import Clock
from marketflow.application.state import Market, State
from marketflow.domain.candle import INTERVALS_MS
from marketflow.domain.errors import BadParameter, MarketflowError, UnknownExchange, UnknownSymbol

_RESOLUTIONS = ("1", "5", "15", "60", "240", "1D")
_INTERVALS_MS = {
    **dict(zip(_RESOLUTIONS, INTERVALS_MS.values(), strict=True)),
    "D": INTERVALS_MS["1d"],
}
_TYPE = "crypto"
_EVERYWHERE = "all"  # what is shown as the exchange of a pair over all of them
_MAX_BARS = 20_000
_DEFAULT_FOUND = 30
_SHOWN_DIGITS = 6
_SECONDS = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?")
_COUNT = re.compile(r"[0-9]{1,9}")

Json = object


class UdfApi:
    """Answers charting clients; only `history` reads the store."""

    def __init__(self, market: Market, candles: Candles, clock: Clock) -> None:
        self._market = market
        self._candles = candles
        self._clock = clock

    def config(self, _: Request) -> Response:
        """Answer `/udf/config`."""
        names = self._market.state.catalog.exchanges
        exchanges = [{"value": "", "name": "All exchanges", "desc": ""}]
        exchanges += ({"value": name, "name": name, "desc": name} for name in names)
        return _said(
            {
                "supports_search": True,
                "supports_group_request": False,
                "supports_time": True,
                "supports_marks": False,
                "supports_timescale_marks": False,
                "supported_resolutions": _RESOLUTIONS,
                "exchanges": exchanges,
                "symbols_types": [
                    {"name": "All types", "value": ""},
                    {"name": "Crypto", "value": _TYPE},
                ],
            }
        )

    def time(self, _: Request) -> Response:
        """Answer `/udf/time`."""
        text = str(self._clock.now().wall_ms // 1000)
        return Response(200, text.encode(), "text/plain; charset=utf-8", (NO_STORE,))

    def symbols(self, request: Request) -> Response:
        """Answer `/udf/symbols?symbol=`."""

        def answer() -> Json:
            asked = _asked(request, "symbol")
            state = self._market.state
            symbol, exchange = _resolve(state, _needed(asked, "symbol"))
            return _description(state, symbol, exchange)

        return _judged(answer)

    def search(self, request: Request) -> Response:
        """Answer `/udf/search?query=&type=&exchange=&limit=`."""

        def answer() -> Json:
            asked = _asked(request, "query", "type", "exchange", "limit")
            limit = _count(asked, "limit", _DEFAULT_FOUND)
            if asked.get("type", _TYPE) != _TYPE:
                return []
            found = _listed(self._market.state, asked.get("exchange", "").casefold())
            query = asked.get("query", "").casefold()
            fitting = [one for one in found if query in one["full_name"].casefold()]
            fitting.sort(key=lambda one: one["full_name"].casefold().index(query))
            return fitting[:limit]

        return _judged(answer)

    def history(self, request: Request) -> Later:
        """Answer `/udf/history?symbol=&resolution=&from=&to=&countback=`."""

        def answer() -> Json:
            asked = _asked(request, "symbol", "resolution", "from", "to", "countback")
            symbol, exchange = _resolve(self._market.state, _needed(asked, "symbol"))
            resolution = _needed(asked, "resolution")
            if resolution not in _INTERVALS_MS:
                raise BadParameter(
                    f"resolution must be one of {', '.join(_INTERVALS_MS)}, was {resolution!r}"
                )
            bars, before_ms = self._candles.bars(
                symbol,
                exchange,
                _INTERVALS_MS[resolution],
                from_ms=_milliseconds(asked, "from"),
                to_ms=_milliseconds(asked, "to"),
                at_least=_count(asked, "countback", 0),
                at_most=_MAX_BARS,
            )
            if not bars:
                nothing: dict[str, Json] = {"s": "no_data"}
                return nothing if before_ms is None else {**nothing, "nextTime": before_ms // 1000}
            return {
                "s": "ok",
                "t": [bar.open_ms // 1000 for bar in bars],
                "o": [bar.open for bar in bars],
                "h": [bar.high for bar in bars],
                "l": [bar.low for bar in bars],
                "c": [bar.close for bar in bars],
                "v": [bar.ticks for bar in bars],
            }

        return Later(lambda: _judged(answer))


def _judged(answer: Callable[[], Json]) -> Response:
    try:
        return _said(answer())
    except (UnknownSymbol, UnknownExchange):
        return _said({"s": "error", "errmsg": "unknown_symbol"})
    except MarketflowError as error:
        return _said({"s": "error", "errmsg": str(error)})


def _said(body: Json) -> Response:
    text = json.dumps(body, separators=(",", ":"))
    return Response(200, text.encode(), "application/json", (NO_STORE,))


def _asked(request: Request, *known: str) -> dict[str, str]:
    sent = (part for part in request.query.split("&") if part.partition("=")[2])
    return parameters("&".join(sent), known)


def _needed(asked: Mapping[str, str], name: str) -> str:
    if name not in asked:
        raise BadParameter(f"{name} must be given")
    return asked[name]


def _count(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not _COUNT.fullmatch(text):
        raise BadParameter(f"{name} must be a whole number, was {text!r}")
    return int(text)


def _milliseconds(asked: Mapping[str, str], name: str) -> int:
    text = _needed(asked, name)
    if not _SECONDS.fullmatch(text):
        raise BadParameter(f"{name} must be seconds since the epoch, was {text!r}")
    return ceil(float(text) * 1000)


def _resolve(state: State, name: str) -> tuple[str, str | None]:
    """Return pair and exchange, None for all, of `BTCUSDT` or `exchange1:BTCUSDT`."""
    exchange, colon, symbol = name.rpartition(":")
    found = state.catalog.symbol(symbol)
    if not colon:
        return found, None
    try:
        return found, state.catalog.exchange(exchange)
    except UnknownExchange:
        # some clients put the exchange that they were shown before the name
        if exchange.casefold() == _EVERYWHERE:
            return found, None
        raise


def _listed(state: State, exchange: str) -> Iterable[dict[str, str]]:
    """Yield every pair, over all exchanges first, as a search shows it."""
    names = [name for name in state.catalog.exchanges if exchange in ("", name.casefold())]
    for name in (*([None] if not exchange else []), *names):
        for symbol in state.catalog.symbols:
            full_name = _full_name(symbol, name)
            yield {
                "symbol": symbol,
                "full_name": full_name,
                "description": _words(symbol, name),
                "exchange": name or _EVERYWHERE,
                "ticker": full_name,
                "type": _TYPE,
            }


def _description(state: State, symbol: str, exchange: str | None) -> dict[str, Json]:
    return {
        "name": symbol,
        "full_name": _full_name(symbol, exchange),
        "ticker": _full_name(symbol, exchange),
        "description": _words(symbol, exchange),
        "type": _TYPE,
        "session": "24x7",
        "timezone": "Etc/UTC",
        "exchange": exchange or _EVERYWHERE,
        "listed_exchange": exchange or _EVERYWHERE,
        "minmov": 1,
        "minmov2": 0,
        "pricescale": _price_scale(state, symbol),
        "format": "price",
        "has_intraday": True,
        "has_daily": True,
        "has_weekly_and_monthly": False,
        "intraday_multipliers": _RESOLUTIONS[:-1],
        "supported_resolutions": _RESOLUTIONS,
        "volume_precision": 0,
        "data_status": "streaming",
    }


def _full_name(symbol: str, exchange: str | None) -> str:
    return symbol if exchange is None else f"{exchange}:{symbol}"


def _words(symbol: str, exchange: str | None) -> str:
    return f"{symbol} on {exchange or 'all exchanges'}"


def _price_scale(state: State, symbol: str) -> int:
    """Return the power of ten at which a price of today shows enough digits, two at the least."""
    newest = state.pairs[symbol].newest
    if newest is None:
        return 100
    digits = _SHOWN_DIGITS - 1 - floor(log10(newest.latest.price))
    return int(10 ** min(max(2, digits), 16))
