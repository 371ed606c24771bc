"""Aggregated prices in Redis: a string per asset, JSON, that expires.

Keys are documented for readers in the README.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from marketflow.adapters.cache.redis_connection import Command, RedisAddress, RedisConnections
from marketflow.application.asset_ports import CachedPrice
from marketflow.domain.asset import AssetPrice, Quote, Source
from marketflow.domain.mode import Mode

T = TypeVar("T")

_KEY = "marketflow:{}:asset:{}"  # mode, asset
# changes nothing, and is refused whenever a price would be: replica, full memory, missing rights
_PING: Command = ("SET", "marketflow:ping", "", "XX", "PX", 1)
_AT_ONCE = 1_000  # assets; what is under way of them fits a few hundred KiB
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # of an exchange; answers repeat it
_LAST_MS = 253_402_300_799_999  # in the year 9999


def _set(key: str, cached: CachedPrice) -> Command:
    return ("SET", key, _price_json(cached.price), "PX", max(1, cached.ttl_ms))


def _values(keys: Sequence[str]) -> Command:
    # for one key as well: what is no string is nil to it, and an error to GET
    return ("MGET", *keys)


def _remaining(key: str) -> Command:
    return ("PTTL", key)


class RedisAssets:
    """Prices of assets on a few connections, opened when needed.

    Nothing takes longer than *timeout_s* without an answer, or to wait for a connection, and
    nothing is tried twice. What another program wrote under our keys is no price.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = 0.5,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        connections: int = 4,
    ) -> None:
        address = RedisAddress(
            host=host,
            port=port,
            timeout_s=timeout_s,
            db=db,
            username=username,
            password=password,
            tls=tls,
        )
        self._connections = RedisConnections(address, most=connections)

    def put(self, mode: Mode, prices: Sequence[CachedPrice]) -> None:
        for some in _in_parts(prices):
            self._connections.ask([_set(_KEY.format(mode, one.price.asset), one) for one in some])

    def get(self, mode: Mode, asset: str) -> CachedPrice | None:
        return next(iter(self.everything(mode, [asset])), None)

    def everything(self, mode: Mode, assets: Sequence[str]) -> list[CachedPrice]:
        return [found for some in _in_parts(assets) for found in self._read(mode, some)]

    def ping(self) -> None:
        self._connections.ask([_PING])

    def close(self) -> None:
        self._connections.close()

    def _read(self, mode: Mode, assets: Sequence[str]) -> Iterator[CachedPrice]:
        keys = [_KEY.format(mode, asset) for asset in assets]
        texts, *ttls_ms = self._connections.ask([_values(keys), *map(_remaining, keys)])
        for asset, text, ttl_ms in zip(assets, texts, ttls_ms, strict=True):
            # below 0: gone in between, or made to stay for ever, as we never do
            price = _price(asset, text) if text is not None and ttl_ms > 0 else None
            if price is not None:
                yield CachedPrice(price, ttl_ms)


def _in_parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _price_json(price: AssetPrice) -> str:
    value = {
        "asset": price.asset,
        "price": price.price,
        "last_updated": price.timestamp_ms // 1000,
        "timestamp_ms": price.timestamp_ms,
        "updated_ms": price.updated_ms,
        "sources": [
            {
                "exchange": quote.exchange,
                "price": quote.price,
                "volume": quote.volume,
                "timestamp_ms": quote.timestamp_ms,
                "used": used,
            }
            for quote, used in price.sources
        ],
    }
    return json.dumps(value, separators=(",", ":"))


def _price(asset: str, text: bytes) -> AssetPrice | None:
    try:
        return _parse(asset, json.loads(text))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _parse(asset: str, value: Any) -> AssetPrice:
    if value["asset"] != asset:
        raise ValueError(asset)
    return AssetPrice(
        asset,
        _amount(value["price"], above_0=True),
        _moment(value["timestamp_ms"]),
        _moment(value["updated_ms"]),
        tuple(map(_source, value["sources"])),
    )


def _source(value: Any) -> Source:
    exchange, volume, used = value["exchange"], value["volume"], value["used"]
    if not isinstance(used, bool):
        raise TypeError(value)
    if not _NAME.fullmatch(exchange):
        raise ValueError(value)
    price = _amount(value["price"], above_0=True)
    volume = None if volume is None else _amount(volume, above_0=False)
    return Source(Quote(exchange, price, volume, _moment(value["timestamp_ms"])), used)


def _amount(value: object, *, above_0: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(value)
    if not math.isfinite(value) or value < 0 or (above_0 and value == 0):
        raise ValueError(value)
    return float(value)


def _moment(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    if not 0 <= value <= _LAST_MS:
        raise ValueError(value)
    return value
