"""The routes of stored minutes: `/history`, `/candles`, `/gaps`."""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from urllib.parse import quote, urlencode

from marketflow.adapters.web.accept import prefers_csv
from marketflow.adapters.web.etag import tagged
from marketflow.adapters.web.failures import NO_STORE
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.query import parameters, whole
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.router import Later
from marketflow.adapters.web.rows import row_json, rows_csv
from marketflow.adapters.web.times import span_in
from marketflow.application.candles import Candles, Wanted
from marketflow.application.gaps import Gaps
from marketflow.application.history import History, HistoryPage, Place
from marketflow.domain.candle import INTERVALS_MS
from marketflow.domain.errors import BadParameter

_DEFAULT_LIMIT = 500
_MAX_LIMIT = 5_000
_HISTORY = ("exchange", "from", "to", "limit", "cursor", "format")
_CANDLES = ("exchange", "from", "to", "limit", "interval", "include_open", "fill")
_GAPS = ("exchange", "from", "to")
_JSON = "application/json"
_CSV = "text/csv; charset=utf-8"
_BY_ACCEPT = ("Vary", "Accept")
_PLACE = re.compile(rb"([0-9]{1,15}):([A-Za-z0-9_.-]{1,64})")

Headers = tuple[tuple[str, str], ...]


class HistoryApi:
    """Reads the store: every answer is given later."""

    def __init__(self, history: History, candles: Candles, gaps: Gaps) -> None:
        self._history = history
        self._candles = candles
        self._gaps = gaps

    def rows(self, request: Request, symbol: str) -> Later:
        """Answer `/history/{symbol}[?exchange=&from=&to=&limit=&cursor=&format=]`."""
        asked = parameters(request.query, _HISTORY)
        from_ms, to_ms = span_in(asked)
        limit = whole(asked, "limit", default=_DEFAULT_LIMIT, most=_MAX_LIMIT)
        after = _place_of(asked["cursor"]) if "cursor" in asked else None
        form = _choice(asked, "format", ("json", "csv"), "json")
        if "format" not in asked and prefers_csv(request.headers.get("accept", "")):
            form = "csv"

        def work() -> Response:
            page = self._history.page(
                symbol,
                asked.get("exchange"),
                from_ms=from_ms,
                to_ms=to_ms,
                after=after,
                limit=limit,
            )
            headers: Headers = (_BY_ACCEPT,)
            if page.next is not None:
                following = {**asked, "cursor": _cursor_of(page.next)}
                headers = (*headers, _link("history", page.symbol, following))
            if form == "csv":
                return _answer(rows_csv(page.rows), headers, is_final=page.is_final, kind=_CSV)
            return _answer(_rows_json(page), headers, is_final=page.is_final)

        return Later(work)

    def candles(self, request: Request, symbol: str) -> Later:
        """Answer `/candles/{symbol}[?interval=&exchange=&from=&to=&limit=&include_open=&fill=]`."""
        asked = parameters(request.query, _CANDLES)
        from_ms, to_ms = span_in(asked)
        interval = _choice(asked, "interval", INTERVALS_MS, "1m")
        wanted = Wanted(
            interval_ms=INTERVALS_MS[interval],
            from_ms=from_ms,
            to_ms=to_ms,
            limit=whole(asked, "limit", default=_DEFAULT_LIMIT, most=_MAX_LIMIT),
            include_open=_choice(asked, "include_open", ("true", "false"), "true") == "true",
            fill=_choice(asked, "fill", ("none", "prev"), "none") == "prev",
        )

        def work() -> Response:
            found = self._candles.ask(symbol, asked.get("exchange"), wanted)
            headers: Headers = ()
            if found.next_from_ms is not None and from_ms is not None:
                link = {**asked, "from": str(found.next_from_ms)}
                headers = (_link("candles", found.symbol, link),)
            body = {
                "symbol": found.symbol,
                "exchange": found.exchange,
                "interval": interval,
                "candles": [candle[:6] for candle in found.candles],
                "closed": found.closed,
            }
            return _answer(_dumped(body), headers, is_final=found.is_final)

        return Later(work)

    def gaps(self, request: Request, symbol: str) -> Later:
        """Answer `/gaps/{symbol}[?exchange=&from=&to=]`."""
        asked = parameters(request.query, _GAPS)
        from_ms, to_ms = span_in(asked)

        def work() -> Response:
            found = self._gaps.ask(symbol, asked.get("exchange"), from_ms=from_ms, to_ms=to_ms)
            body = {
                "symbol": found.symbol,
                "exchange": found.exchange,
                "from": found.from_ms,
                "to": found.to_ms,
                "gaps": [
                    {"exchange": gap.exchange, "from": gap.from_ms, "to": gap.to_ms}
                    for gap in found.gaps
                ],
            }
            return _answer(_dumped(body), (), is_final=found.is_final)

        return Later(work)


def _choice(asked: Mapping[str, str], name: str, options: Collection[str], default: str) -> str:
    text = asked.get(name, default)
    if text not in options:
        raise BadParameter(f"{name} must be one of {', '.join(options)}, was {text[:64]!r}")
    return text


def _rows_json(page: HistoryPage) -> bytes:
    exchange = "null" if page.exchange is None else f'"{page.exchange}"'
    rows = ",".join(map(row_json, page.rows))
    return f'{{"symbol":"{page.symbol}","exchange":{exchange},"rows":[{rows}]}}'.encode()


def _dumped(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _answer(body: bytes, headers: Headers, *, is_final: bool, kind: str = _JSON) -> Response:
    response = Response(200, body, kind, headers)
    return tagged(response) if is_final else response._replace(headers=(*headers, NO_STORE))


def _link(route: str, symbol: str, asked: Mapping[str, str]) -> tuple[str, str]:
    return "Link", f'</{route}/{quote(symbol, safe="")}?{urlencode(asked)}>; rel="next"'


def _cursor_of(place: Place) -> str:
    text = f"{place.end_ms}:{place.exchange}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place_of(cursor: str) -> Place:
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        place = _PLACE.fullmatch(text)
    except ValueError:
        place = None
    if place is None or _cursor_of(found := Place(int(place[1]), place[2].decode())) != cursor:
        raise BadParameter(f"cursor must be one that a Link held, was {cursor[:64]!r}")
    return found
