"""The mirror of ticks in Redis: a stream per series, a hash of latest prices per pair.

Keys are documented for readers in the README. Needs Redis 6.2 (`XADD … MINID`).
"""

import json
from collections.abc import Collection, Iterator, Sequence

from redis.exceptions import ResponseError

from marketflow.adapters.cache.redis_connection import Command, RedisAddress, RedisConnection
from marketflow.application.ports import EncodedTicks, MirrorEntry, Series

_STREAM = "marketflow:{}:ticks:{}:{}"  # mode, exchange, symbol
_LATEST = "marketflow:{}:latest:{}"  # mode, symbol
# changes nothing, and is refused whenever ticks would be: replica, full memory, missing rights
_PING: Command = ("XADD", "marketflow:ping", "NOMKSTREAM", "*", "", "")
_ALREADY_THERE = "equal or smaller than the target stream top item"


def _newest(series: Series) -> Command:
    return ("XREVRANGE", _STREAM.format(*series), "+", "-", "COUNT", 1)


def _add(entry: MirrorEntry, keep_from_ms: int) -> Command:
    id_ms, (series, timestamps, prices, *_) = entry
    key = _STREAM.format(*series)
    return ("XADD", key, "MINID", keep_from_ms, f"{id_ms}-0", "t", timestamps, "p", prices)


def _set_latest(key: str, latest: Sequence[EncodedTicks]) -> Command:
    pairs = ((ticks.series.exchange, _tick_json(ticks)) for ticks in latest)
    return ("HSET", key, *(word for pair in pairs for word in pair))


def _expire(key: str, after_ms: int) -> Command:
    return ("PEXPIRE", key, after_ms)


class RedisTickMirror:
    """Ticks of the last *retention_ms* on one connection, opened when needed; for one thread.

    Everything takes at most *timeout_s* without an answer, and nothing is tried twice.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        retention_ms: int,
        timeout_s: float = 0.5,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
    ) -> None:
        self._retention_ms = retention_ms
        self._address = RedisAddress(
            host=host,
            port=port,
            timeout_s=timeout_s,
            db=db,
            username=username,
            password=password,
            tls=tls,
        )
        self._connection = RedisConnection(self._address)

    def last_ids(self, series: Collection[Series]) -> dict[Series, int]:
        replies = self._connection.ask([_newest(one) for one in series])
        return {
            one: int(entries[0][0].partition(b"-")[0]) if entries else 0
            for one, entries in zip(series, replies, strict=True)
        }

    def send(self, entries: Sequence[MirrorEntry], keep_from_ms: int) -> None:
        # as one transaction: when memory runs out halfway, a later entry must not be taken
        # without an earlier one, which Redis would then refuse for ever
        adding = [_add(entry, keep_from_ms) for entry in entries]
        replies = self._connection.ask([("MULTI",), *adding, *self._finish(entries), ("EXEC",)])
        for reply in replies[-1]:
            if isinstance(reply, ResponseError) and _ALREADY_THERE not in str(reply):
                raise self._address.failure(reply) from reply

    def ping(self) -> None:
        self._connection.ask([_PING])

    def close(self) -> None:
        self._connection.close()

    def _finish(self, entries: Sequence[MirrorEntry]) -> Iterator[Command]:
        newest = {entry.ticks.series: entry.ticks for entry in entries}
        latest: dict[str, list[EncodedTicks]] = {}
        for series, ticks in newest.items():
            yield _expire(_STREAM.format(*series), self._retention_ms)
            latest.setdefault(_LATEST.format(series.mode, series.symbol), []).append(ticks)
        for key, some in latest.items():
            yield _set_latest(key, some)
            yield _expire(key, self._retention_ms)


def _tick_json(ticks: EncodedTicks) -> str:
    tick = {
        "symbol": ticks.series.symbol,
        "exchange": ticks.series.exchange,
        "price": ticks.last_price,
        "timestamp": ticks.last_timestamp_ms,
    }
    return json.dumps(tick, separators=(",", ":"))
