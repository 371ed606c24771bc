"""Servers for a test session, and what a test does on them: `pytest_plugins` names this module."""

from contextlib import ExitStack

import pytest

from marketflow.adapters.storage.postgres import PostgresStore
from tests.proxy import Proxy
from tests.servers import SCHEMA, PostgresServer, RedisServer


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL that trusts everybody; leave it as it was."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server():
    """A Redis without a password; leave it as it was."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def _reused_database(postgres_server):
    with postgres_server.new_database() as database:
        yield database


@pytest.fixture
def database(_reused_database):
    """An empty database; its server may be stopped, killed and frozen."""
    server = _reused_database.server
    server.start()
    _reused_database.reset()
    yield _reused_database
    server.resume()
    server.start()


@pytest.fixture
def open_store():
    """Open a `PostgresStore` with short deadlines; every setting can be changed."""
    with ExitStack() as stack:

        def open_one(database, /, **changes):
            settings = {
                "sslmode": "prefer",
                "connect_timeout_s": 0.4,
                "statement_timeout_s": 0.4,
                "pool_size": 4,
                "schema": SCHEMA,
            }
            store = PostgresStore(**(database.address() | settings | changes))
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def proxy(database):
    """A proxy in front of the database's server."""
    with Proxy(database.server.host, database.server.port) as proxy:
        yield proxy
