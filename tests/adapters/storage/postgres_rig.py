"""What the tests of PostgreSQL ask of a store, and what they expect of a fault."""

import re
import threading
import time
from contextlib import closing, contextmanager

import pytest

from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row

ROWS = [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(30)]
DEADLINE_S = 0.4  # of the stores that `open_store` opens


def all_of(store):
    return store.rows(Mode.LIVE, "BTCUSDT", None, 0, 2**62)


def uses(store):
    return {
        "ping": store.ping,
        "upsert": lambda: store.upsert(ROWS),
        "rows": lambda: all_of(store),
    }


def fault(use, reason):
    """Expect *use* to fail with *reason*, soon."""
    began = time.monotonic()
    with pytest.raises(StorageUnavailable) as failure:
        use()
    assert time.monotonic() - began < DEADLINE_S + 1.5
    assert re.fullmatch(rf"postgres at \S+:\d+: {reason}", str(failure.value))


@contextmanager
def locked(database, table="market_data"):
    with closing(database.session()) as session:
        session.autocommit = False
        session.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


def sessions(database, condition="true"):
    return database.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'marketflow' "
        f"AND datname = current_database() AND {condition}"
    )[0][0]


def eventually(condition, within_s=5.0):
    pause = threading.Event()
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, "it never came true"
        pause.wait(0.02)


def works(use):
    try:
        use()
    except StorageUnavailable:
        return False
    return True
