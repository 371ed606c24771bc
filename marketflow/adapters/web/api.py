"""The routes: parameters parsed once at the edge, answers built as bytes."""

import json
from collections.abc import Callable
from functools import partial

from marketflow.adapters.web.failures import NO_STORE
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.price_json import (
    average_json,
    extreme_json,
    latest_json,
    stats_json,
)
from marketflow.adapters.web.query import names_in, parameters
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.router import Handler, Later
from marketflow.application.health import Health
from marketflow.application.modes import Modes
from marketflow.application.queries import Prices
from marketflow.application.state import Market
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period

PeriodAnswer = Callable[[str, str | None, Period], Response]

_PERIOD = ("period",)
_HEADERS = (NO_STORE,)
_new = tuple.__new__
_REMEMBERED = 512  # periods


class PriceApi:
    """The price routes of the brief."""

    def __init__(self, prices: Prices, *, default: Period, max_period_ms: int) -> None:
        self._prices = prices
        self._default = default
        self._max_period_ms = max_period_ms
        self._periods: dict[str, Period] = {"": self._default}

    def latest(self, _: Request, *names: str) -> Response:
        """Answer `/prices/latest/[{exchange}/]{symbol}`."""
        exchange, symbol = names if len(names) == 2 else (None, names[0])
        return _answer(latest_json(self._prices.latest(symbol, exchange)))

    def everything(self, request: Request) -> Response:
        """Answer `/prices/latest[?symbols=][&exchange=]`."""
        asked = parameters(request.query, ("symbols", "exchange"))
        symbols = names_in(asked["symbols"], "symbols") if "symbols" in asked else ()
        found = self._prices.everything(symbols, asked.get("exchange", ""))
        return _answer('{"prices":[%s]}' % ",".join(map(latest_json, found)))

    def highest(self, request: Request, *names: str) -> Response | Later:
        """Answer `/prices/highest/[{exchange}/]{symbol}[?period=]`."""
        return self._over_period(request, names, self._highest)

    def lowest(self, request: Request, *names: str) -> Response | Later:
        """Answer `/prices/lowest/[{exchange}/]{symbol}[?period=]`."""
        return self._over_period(request, names, self._lowest)

    def average(self, request: Request, *names: str) -> Response | Later:
        """Answer `/prices/average/[{exchange}/]{symbol}[?period=]`."""
        return self._over_period(request, names, self._average)

    def stats(self, request: Request, *names: str) -> Response | Later:
        """Answer `/prices/stats/[{exchange}/]{symbol}[?period=]`."""
        return self._over_period(request, names, self._stats)

    def _highest(self, symbol: str, exchange: str | None, period: Period) -> Response:
        return _answer(
            extreme_json(self._prices.extreme(symbol, exchange, period, highest=True), period)
        )

    def _lowest(self, symbol: str, exchange: str | None, period: Period) -> Response:
        return _answer(
            extreme_json(self._prices.extreme(symbol, exchange, period, highest=False), period)
        )

    def _average(self, symbol: str, exchange: str | None, period: Period) -> Response:
        return _answer(average_json(self._prices.average(symbol, exchange, period), period))

    def _stats(self, symbol: str, exchange: str | None, period: Period) -> Response:
        return _answer(stats_json(self._prices.stats(symbol, exchange, period), period))

    def _over_period(
        self, request: Request, names: tuple[str, ...], answer: PeriodAnswer
    ) -> Response | Later:
        period = self._periods.get(request.query) or self._period(request.query)
        exchange, symbol = names if len(names) == 2 else (None, names[0])
        if self._prices.reads_store(period):
            return Later(partial(answer, symbol, exchange, period))
        return answer(symbol, exchange, period)

    def _period(self, query: str) -> Period:
        text = parameters(query, _PERIOD).get("period")
        if text is None:
            return self._default
        period = Period.parse(text, self._max_period_ms)
        if len(self._periods) < _REMEMBERED:
            self._periods[query] = period
        return period


class ServiceApi:
    """Mode, health and names."""

    def __init__(self, modes: Modes, health: Health, market: Market) -> None:
        self._modes = modes
        self._health = health
        self._market = market

    def mode(self, _: Request) -> Response:
        """Answer `GET /mode`."""
        return _json({"mode": self._market.state.mode})

    def switch_to_test(self, _: Request) -> Later:
        """Answer `POST /mode/test`."""
        return Later(lambda: self._switch(Mode.TEST))

    def switch_to_live(self, _: Request) -> Later:
        """Answer `POST /mode/live`."""
        return Later(lambda: self._switch(Mode.LIVE))

    def health(self, _: Request) -> Response:
        """Answer `GET /health`."""
        report = self._health.report()
        return _json(report, 503 if report["status"] == "down" else 200)

    def live(self, _: Request) -> Response:
        """Answer `GET /health/live`: whoever reads this lives."""
        return _json({"status": "ok"})

    def ready(self, _: Request) -> Response:
        """Answer `GET /health/ready`."""
        ready = self._health.ready()
        return _json({"status": "ok" if ready else "down"}, 200 if ready else 503)

    def symbols(self, _: Request) -> Response:
        """Answer `GET /symbols`."""
        return _json({"symbols": self._market.state.catalog.symbols})

    def exchanges(self, _: Request) -> Response:
        """Answer `GET /exchanges`."""
        state = self._market.state
        return _json({"mode": state.mode, "exchanges": state.catalog.exchanges})

    def _switch(self, mode: Mode) -> Response:
        switched = self._modes.switch(mode)
        return _json(switched._asdict())


def index(table: dict[str, Handler]) -> Handler:
    """Return the handler of `GET /`: the routes, one a line."""
    lines = ["marketflow: real-time prices over HTTP", "", *table, ""]
    text = "\n".join(lines).encode()
    return lambda _: Response(200, text, "text/plain; charset=utf-8")


def _answer(text: str) -> Response:
    # as `Response(…)` in a third of the time: every price goes this way
    return _new(Response, (200, text.encode(), "application/json", _HEADERS, False, None))


def _json(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), "application/json", _HEADERS)
