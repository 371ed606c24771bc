"""A database and a Redis of a test's own, behind proxies, and what other programs see there."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from typing import Any, Self

import redis

from tests.end_to_end.ledger import StoredRow
from tests.proxy import Proxy
from tests.servers import Database, PostgresServer, RedisServer

# quotes and a backslash: however it is escaped, the word in it can be looked for
POSTGRES_PASSWORD = "o'hush-4711 \\\"x"
REDIS_PASSWORD = "hush-4712-x"
SECRETS = ("hush-4711", "hush-4712")

_ROWS = """
SELECT mode, exchange, pair_name, (extract(epoch FROM timestamp) * 1000)::bigint, tick_count,
       min_price, max_price, average_price, open_price, close_price,
       (extract(epoch FROM open_at) * 1000)::bigint, (extract(epoch FROM close_at) * 1000)::bigint,
       (extract(epoch FROM min_at) * 1000)::bigint, (extract(epoch FROM max_at) * 1000)::bigint
FROM {}market_data
"""
_SESSIONS = "FROM pg_stat_activity WHERE usename = %s"
_numbers = count()


class Backends:
    """Where the service keeps things: it reaches both by proxies, as a role without privileges."""

    def __init__(self, postgres: PostgresServer) -> None:
        self.postgres = postgres
        self.name = f"keeper{next(_numbers)}"
        self.database = Database(postgres, self.name)
        self.redis = RedisServer(password=REDIS_PASSWORD)
        self.postgres_proxy: Proxy
        self.redis_proxy: Proxy
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.redis.start()
        self._stack.callback(self.redis.clean_up)
        self.postgres.sql(f"CREATE ROLE {self.name} LOGIN PASSWORD %s", (POSTGRES_PASSWORD,))
        self.postgres.sql(f"CREATE DATABASE {self.name} OWNER {self.name}")
        enter = self._stack.enter_context
        self.postgres_proxy = enter(Proxy(self.postgres.host, self.postgres.port))
        self.redis_proxy = enter(Proxy(self.redis.host, self.redis.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.postgres.start()
        self.postgres.sql(f"DROP DATABASE {self.name} WITH (FORCE)")
        self.postgres.sql(f"DROP ROLE {self.name}")

    def config(self) -> dict[str, Any]:
        """Return the sections that lead to both."""
        return {
            "storage": {"backend": "postgres"},
            "postgres": {
                "host": self.postgres_proxy.host,
                "port": self.postgres_proxy.port,
                "user": self.name,
                "password": POSTGRES_PASSWORD,
                "database": self.name,
            },
            "cache": {"backend": "redis"},
            "redis": {
                "host": self.redis_proxy.host,
                "port": self.redis_proxy.port,
                "password": REDIS_PASSWORD,
            },
        }

    def rows(self, schema: str = "") -> list[StoredRow]:
        """Return the stored minutes; none while there is no table."""
        if self.database.sql("SELECT to_regclass('market_data')") == [(None,)]:
            return []
        return [StoredRow(*row) for row in self.database.sql(_ROWS.format(schema))]

    def end_sessions(self) -> None:
        """Cut every session of the service, as an administrator does."""
        self.postgres.sql(f"SELECT pg_terminate_backend(pid) {_SESSIONS}", (self.name,))

    def sessions(self) -> int:
        """Return how many sessions the service has."""
        ((found,),) = self.postgres.sql(f"SELECT count(*) {_SESSIONS}", (self.name,))
        return int(found)

    def alter_role(self, change: str, values: tuple[object, ...] | None = None) -> None:
        """Change what the service may do from its next session on."""
        self.postgres.sql(f"ALTER ROLE {self.name} {change}", values)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Lend a client of Redis that goes past the proxy."""
        server = redis.Redis(
            self.redis.host, self.redis.port, password=REDIS_PASSWORD, decode_responses=True
        )
        with closing(server):
            yield server

    def streams(self) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """Return every tick in Redis by exchange and symbol."""
        found = {}
        with self.client() as client:
            for key in client.scan_iter("marketflow:live:ticks:*"):
                _, _, _, exchange, symbol = key.split(":")
                found[exchange, symbol] = [
                    (int(timestamp), float(price))
                    for _, entry in client.xrange(key)
                    for timestamp, price in zip(
                        entry["t"].split(","), entry["p"].split(","), strict=True
                    )
                ]
        return found

    def latest(self) -> dict[tuple[str, str], tuple[int, float]]:
        """Return the newest tick in Redis by exchange and symbol."""
        found = {}
        with self.client() as client:
            for key in client.scan_iter("marketflow:live:latest:*"):
                for exchange, text in client.hgetall(key).items():
                    tick = json.loads(text)
                    found[exchange, tick["symbol"]] = (tick["timestamp"], tick["price"])
        return found
