"""The routes: parameters parsed once at the edge, answers built as bytes."""

import json
from datetime import UTC, datetime
from functools import lru_cache

from marketflow.adapters.web.failures import NO_STORE
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.query import parameters
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.router import Handler, Later
from marketflow.application.health import Health
from marketflow.application.modes import Modes
from marketflow.application.queries import ExtremePrice, LatestPrice, Prices
from marketflow.application.state import Market
from marketflow.domain.mode import Mode
from marketflow.domain.period import Period

_PERIOD = ("period",)
_HEADERS = (NO_STORE,)
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
        return _answer(f"{{{_tick(self._prices.latest(*_series(names)))}}}")

    def highest(self, request: Request, *names: str) -> Response | Later:
        """Answer `/prices/highest/[{exchange}/]{symbol}[?period=]`."""
        return self._extreme(request, names, highest=True)

    def lowest(self, request: Request, *names: str) -> Response | Later:
        """Answer `/prices/lowest/[{exchange}/]{symbol}[?period=]`."""
        return self._extreme(request, names, highest=False)

    def average(self, request: Request, *names: str) -> Response | Later:
        """Answer `/prices/average/[{exchange}/]{symbol}[?period=]`."""
        period = self._period(request.query)

        def work() -> Response:
            found = self._prices.average(*_series(names), period)
            return _answer(
                '{"symbol":"%s","exchange":%s,"price":%r,"period":"%s","from":%d,"to":%d,'
                '"count":%d}'
                % (
                    found.symbol,
                    "null" if found.exchange is None else f'"{found.exchange}"',
                    found.price,
                    period.text,
                    found.from_ms,
                    found.to_ms,
                    found.ticks,
                )
            )

        return Later(work) if self._prices.reads_store(period) else work()

    def _extreme(
        self, request: Request, names: tuple[str, ...], *, highest: bool
    ) -> Response | Later:
        period = self._period(request.query)

        def work() -> Response:
            found = self._prices.extreme(*_series(names), period, highest=highest)
            return _answer(
                '{%s,"period":"%s","from":%d,"to":%d,"count":%d}'
                % (_tick(found), period.text, found.from_ms, found.to_ms, found.ticks)
            )

        return Later(work) if self._prices.reads_store(period) else work()

    def _period(self, query: str) -> Period:
        period = self._periods.get(query)
        if period is None:
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


def rfc3339(time_ms: int) -> str:
    """Return *time_ms* as `2026-05-05T12:36:52.345Z`."""
    second = time_ms // 1000
    return f"{_whole_second(second)}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _series(names: tuple[str, ...]) -> tuple[str, str | None]:
    return (names[0], None) if len(names) == 1 else (names[1], names[0])


def _tick(found: LatestPrice | ExtremePrice) -> str:
    # a template is four times faster than json.dumps; every name is known and needs no quoting
    return (
        '"symbol":"%s","exchange":"%s","price":%r,"timestamp":%d,"datetime":"%s","age_ms":%d,'
        '"stale":%s'
    ) % (
        found.symbol,
        found.exchange,
        found.price,
        found.timestamp_ms,
        rfc3339(found.timestamp_ms),
        found.age_ms,
        "true" if found.stale else "false",
    )


def _answer(text: str) -> Response:
    return Response(200, text.encode(), "application/json", _HEADERS)


def _json(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), "application/json", _HEADERS)
