"""Reads a mirror as any other program would: with a client and the documented keys."""

import json

import redis

from marketflow.application.ports import Series


class RedisReader:
    """What *server* holds."""

    def __init__(self, server, *, db=0):
        self.client = redis.Redis(
            host=server.host, port=server.port, password=server.password, db=db, protocol=2
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def ids(self, series):
        return [int(entry_id.split(b"-")[0]) for entry_id, _ in self._entries(series)]

    def ticks(self, series):
        return [
            (int(timestamp), float(price))
            for _, fields in self._entries(series)
            for timestamp, price in zip(
                fields[b"t"].split(b","), fields[b"p"].split(b","), strict=True
            )
        ]

    def all_ticks(self):
        """Return {series: its ticks} of every stream."""
        found = {}
        for key in self.client.keys("marketflow:*:ticks:*"):
            _, mode, _, exchange, symbol = key.decode().split(":")
            series = Series(mode, exchange, symbol)
            found[series] = self.ticks(series)
        return found

    def latest(self):
        """Return {(mode, symbol): {exchange: (timestamp, price)}}."""
        found = {}
        for key in self.client.keys("marketflow:*:latest:*"):
            _, mode, _, symbol = key.decode().split(":")
            fields = self.client.hgetall(key)
            ticks = {name.decode(): json.loads(text) for name, text in fields.items()}
            assert all(
                (tick["exchange"], tick["symbol"]) == (name, symbol) for name, tick in ticks.items()
            )
            found[mode, symbol] = {
                name: (tick["timestamp"], tick["price"]) for name, tick in ticks.items()
            }
        return found

    def _entries(self, series):
        return self.client.xrange("marketflow:{}:ticks:{}:{}".format(*series))
