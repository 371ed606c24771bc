"""The routes of the aggregated asset prices."""

import json
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from marketflow.adapters.web.failures import NO_STORE, Refused
from marketflow.adapters.web.http1 import Request
from marketflow.adapters.web.query import names_in, parameters, whole
from marketflow.adapters.web.response import Response
from marketflow.adapters.web.router import Later, Parked
from marketflow.adapters.web.times import time_ms
from marketflow.application.assets.flight import Refreshed
from marketflow.application.assets.prices import AssetListing, AssetPrices, AssetView
from marketflow.application.assets.refreshes import Refreshes
from marketflow.domain.asset import AssetPrice, Source

_HEADERS = (NO_STORE,)
_BOOL = {True: "true", False: "false"}
_MOST_NAMES = 200
_PAGE, _MOST_AT_ONCE, _MOST_LISTED = 100, 500, 10_000
_ITEMS, _MOST_ITEMS = 500, 5_000
_FOREVER_S = 1 << 50
_LEAST_MS = 100_000_000_000  # as seconds it is the year 5138, as milliseconds 1973


class AssetApi:
    """The asset routes: prices from memory, refreshes without a thread that waits."""

    def __init__(self, prices: AssetPrices, refreshes: Refreshes) -> None:
        self._prices = prices
        self._refreshes = refreshes
        # what stays the same of an asset's answer until its price changes: half of the work
        self._written: dict[str, tuple[AssetPrice, str, str]] = {}

    def price(self, _: Request, name: str) -> Response | Later:
        """Answer `GET /prices/{asset}`."""
        asset = self._prices.asset(name)
        if self._prices.must_look(asset):
            return Later(lambda: _answer(self._price(self._prices.look(asset))))
        return _answer(self._price(self._prices.price(asset)))

    def some(self, request: Request) -> Response:
        """Answer `GET /prices?assets=`."""
        text = parameters(request.query, ("assets",)).get("assets")
        if text is None:
            raise Refused(400, "assets must be names separated by commas, was left out")
        names = names_in(text, "assets")
        if len(names) > _MOST_NAMES:
            raise Refused(400, f"assets must be at most {_MOST_NAMES} names, was {len(names)}")
        views, missing = self._prices.some(names)
        return _answer(
            '{"prices":[%s],"missing":%s}'
            % (",".join(map(self._price, views)), json.dumps(missing))
        )

    def refresh(self, _: Request, name: str) -> Parked:
        """Answer `POST /refresh/{asset}`."""
        asset = self._prices.asset(name)
        return Parked(self._refreshes.refresh(asset), _refreshed)

    def listing(self, request: Request) -> Response | Later:
        """Answer `GET /assets[?tier=][&limit=][&cursor=]`."""
        asked = parameters(request.query, ("tier", "limit", "cursor"))
        limit = whole(asked, "limit", default=_PAGE, most=_MOST_LISTED)

        def work() -> Response:
            found = self._prices.listing(asked.get("tier"), asked.get("cursor"), limit)
            return _listing(found, asked)

        # thousands take so long that nobody else should wait for them
        return Later(work) if limit > _MOST_AT_ONCE else work()

    def history(self, request: Request, name: str) -> Later:
        """Answer `GET /assets/{asset}/history[?from=][&to=][&limit=]`."""
        asset = self._prices.asset(name)
        asked = parameters(request.query, ("from", "to", "limit"))
        limit = whole(asked, "limit", default=_ITEMS, most=_MOST_ITEMS)
        from_s = _second(asked.get("from"), "from", default=0)
        to_s = _second(asked.get("to"), "to", default=_FOREVER_S)

        def work() -> Response:
            items = [
                {
                    "asset": item.asset,
                    "timestamp": item.timestamp_s,
                    "price": item.price,
                    "updated_at": item.updated_s,
                }
                for item in self._prices.history(asset, from_s, to_s, limit)
            ]
            return _answer(json.dumps({"asset": asset, "items": items}))

        return Later(work)

    def _price(self, view: AssetView) -> str:
        price, tier, age_ms, stale = view
        known = self._written.get(price.asset)
        if known is None or known[0] is not price:
            # templates are faster than json.dumps; every name in them is known
            head = (
                f'{{"asset":"{price.asset}","price":{price.price!r},'
                f'"last_updated":{price.timestamp_ms // 1000},"tier":"{tier}","age_seconds":'
            )
            known = price, head, f',"sources":[{_sources(price.sources)}]}}'
            self._written[price.asset] = known
        return f'{known[1]}{age_ms // 1000},"stale":{_BOOL[stale]}{known[2]}'


def _sources(sources: Iterable[Source]) -> str:
    return ",".join(
        '{"exchange":"%s","price":%r,"volume":%s,"timestamp":%d,"used":%s}'
        % (
            quote.exchange,
            quote.price,
            "null" if quote.volume is None else repr(quote.volume),
            quote.timestamp_ms // 1000,
            "true" if used else "false",
        )
        for quote, used in sources
    )


def _refreshed(refreshed: Refreshed) -> Response:
    price = refreshed.price
    body = {
        "message": f"Price for {price.asset} refreshed",
        "asset": price.asset,
        "price": price.price,
        "sources": sum(used for _, used in price.sources),
        "stored": {"memory": True, "redis": refreshed.shared, "history": refreshed.history},
    }
    return _answer(json.dumps(body))


def _listing(found: AssetListing, asked: Mapping[str, str]) -> Response:
    body = {
        "assets": [
            {"asset": asset, "tier": tier, "last_updated": at_ms and at_ms // 1000}
            for asset, tier, at_ms in found.assets
        ],
        "next_cursor": found.after,
    }
    headers: tuple[tuple[str, str], ...] = _HEADERS
    if found.after is not None:
        following = {**asked, "cursor": found.after}
        headers = (*headers, ("Link", f'</assets?{urlencode(following)}>; rel="next"'))
    return Response(200, json.dumps(body).encode(), headers=headers)


def _answer(text: str) -> Response:
    return Response(200, text.encode(), headers=_HEADERS)


def _second(text: str | None, parameter: str, *, default: int) -> int:
    """Read a time: whole seconds, or what `time_ms` reads; told apart by how large they are."""
    if text is None:
        return default
    ms = time_ms(text, parameter)
    return ms if text.isdigit() and ms < _LEAST_MS else -(-ms // 1000)
