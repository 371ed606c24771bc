"""Servers for the suite; a missing program fails it, and the error says what to install."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.market import Market
from tests.servers import PostgresServer


@pytest.fixture(scope="module", autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fail if a thread outlives its module: a market's threads serve more than one test."""
    before = set(threading.enumerate())
    yield
    leaked = [thread for thread in threading.enumerate() if thread not in before]
    for thread in leaked:
        thread.join(1.0)
    assert not [thread.name for thread in leaked if thread.is_alive()]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that asks for passwords; leave it running."""
    with PostgresServer(password="hush-4711-administrator") as server:
        yield server


@pytest.fixture(scope="module")
def market(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A service that goes through many faults, and is in order again after each."""
    with Market(tmp_path_factory.mktemp("market"), postgres) as market:
        service = market.run()
        market.keeps_answering()
        threads, descriptors = service.tasks(), service.descriptors()
        yield market
        market.recovers()
        market.check_silence()
        assert service.tasks() <= threads + 1  # the pool for history grows when it is needed
        assert service.descriptors() <= descriptors + 4  # sessions of PostgreSQL come and go
        service.terminate()


@pytest.fixture
def new_market(tmp_path: Path, postgres: PostgresServer) -> Iterator[Callable[..., Market]]:
    """Prepare markets whose services the test starts."""
    with ExitStack() as stack:
        postgres.start()

        def prepare(**options: Any) -> Market:
            return stack.enter_context(Market(tmp_path, postgres, **options))

        yield prepare
