from contextlib import closing

import pytest

from tests.adapters.storage.postgres_rig import (
    ROWS,
    all_of,
    eventually,
    fault,
    locked,
    sessions,
    uses,
    works,
)
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.servers import SCHEMA

pytest_plugins = ("tests.server_fixtures",)
pytestmark = pytest.mark.slow


def test_a_server_that_is_down_at_start_is_used_when_it_is_up(database, open_store):
    database.server.stop()
    store = open_store(database)
    for use in uses(store).values():
        fault(use, "connection refused")
    database.server.start()
    assert store.upsert(ROWS) == []
    assert all_of(store) == ROWS


def test_a_killed_server_is_used_again_when_it_is_back(database, open_store):
    store = open_store(database)
    store.upsert(ROWS[:10])
    database.server.kill()
    fault(lambda: store.upsert(ROWS[10:]), "connection refused")
    database.server.start()
    store.upsert(ROWS[10:])
    assert all_of(store) == ROWS


def test_a_server_restarted_unseen_costs_nothing(database, open_store):
    store = open_store(database)
    store.ping()
    database.server.restart()
    assert store.upsert(ROWS) == []


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
@pytest.mark.parametrize("use", ["ping", "upsert", "rows"])
def test_a_frozen_server_is_given_up_in_time(database, open_store, known, use):
    store = open_store(database)
    if known:
        store.ping()
    database.server.pause()
    fault(uses(store)[use], "no answer within 0.4 s")
    database.server.resume()
    store.upsert(ROWS)
    assert all_of(store) == ROWS


@pytest.mark.parametrize("use", ["ping", "upsert", "rows"])
def test_a_black_hole_is_left_in_time_and_never_entered_again(database, open_store, proxy, use):
    store = open_store(database, port=proxy.port)
    proxy.swallow()
    fault(uses(store)[use], "no answer within 0.4 s")
    proxy.heal()
    store.ping()
    proxy.swallow()
    fault(uses(store)[use], "no answer within 0.4 s")
    proxy.heal()
    store.upsert(ROWS)
    assert all_of(store) == ROWS


@pytest.mark.parametrize("delivered", [False, True], ids=["lost", "delivered"])
def test_a_black_hole_in_commit_is_left_in_time_and_nothing_is_lost_or_doubled(
    database, open_store, proxy, delivered
):
    store = open_store(database, port=proxy.port)
    store.ping()
    struck = proxy.when_seen(b"COMMIT", then="swallow", delivered=delivered)
    fault(lambda: store.upsert(ROWS), "no answer within 0.4 s")
    assert struck.is_set()
    assert database.sql("SELECT count(*) FROM market_data") == [(30 if delivered else 0,)]
    proxy.heal()
    store.upsert(ROWS)
    assert all_of(store) == ROWS
    assert database.sql("SELECT count(*) FROM market_data") == [(30,)]


@pytest.mark.parametrize("delivered", [False, True], ids=["lost", "delivered"])
def test_a_cut_in_commit_is_tried_again_at_once_and_nothing_is_lost_or_doubled(
    database, open_store, proxy, delivered
):
    store = open_store(database, port=proxy.port)
    store.ping()
    struck = proxy.when_seen(b"COMMIT", delivered=delivered)
    assert store.upsert(ROWS) == []
    assert struck.is_set()
    assert all_of(store) == ROWS
    assert database.sql("SELECT count(*) FROM market_data") == [(30,)]


@pytest.mark.parametrize("delivered", [False, True], ids=["lost", "delivered"])
def test_a_second_cut_is_told(database, open_store, proxy, delivered):
    store = open_store(database, port=proxy.port)
    database.sql(SCHEMA)
    proxy.when_seen(b"COMMIT", delivered=delivered)
    fault(lambda: store.upsert(ROWS), ".*(reset|closed).*")
    assert database.sql("SELECT count(*) FROM market_data") == [(30 if delivered else 0,)]
    store.upsert(ROWS)
    assert all_of(store) == ROWS


def test_a_large_call_cut_in_the_middle_leaves_nothing_half_done(database, open_store, proxy):
    rows = [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(500)]
    store = open_store(database, port=proxy.port, statement_timeout_s=3)
    store.ping()
    proxy.when_seen(b"unnest")
    assert store.upsert(rows) == []
    assert all_of(store) == rows


def test_a_slow_network_within_the_deadline_is_put_up_with(database, open_store, proxy):
    store = open_store(
        database, port=proxy.port, sslmode="disable", connect_timeout_s=5, statement_timeout_s=5
    )
    proxy.delay(0.03)
    store.upsert(ROWS)
    assert all_of(store) == ROWS
    proxy.delay(9)
    store.close()


def test_a_refusing_network_is_told_and_heals(database, open_store, proxy):
    store = open_store(database, port=proxy.port)
    store.ping()
    proxy.refuse()
    fault(store.ping, "connection refused")
    proxy.heal()
    store.ping()


def test_a_read_only_server_is_noticed_by_the_ping_and_heals(database, open_store):
    store = open_store(database)
    store.upsert(ROWS)
    database.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        database.sql("SELECT pg_reload_conf()")
        eventually(lambda: not works(store.ping))
        fault(store.ping, "cannot execute INSERT in a read-only transaction")
        fault(lambda: store.upsert(ROWS), "cannot execute INSERT in a read-only transaction")
        assert all_of(store) == ROWS, "reading goes on"
    finally:
        database.sql("ALTER SYSTEM RESET default_transaction_read_only")
        database.sql("SELECT pg_reload_conf()")
    eventually(lambda: works(store.ping))


def test_a_session_that_began_read_only_is_not_kept(database, open_store):
    database.sql(SCHEMA)
    database.sql(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    store = open_store(database)
    fault(store.ping, "cannot execute INSERT in a read-only transaction")
    with closing(database.session()) as session:
        cursor = session.cursor()
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
    store.ping()


@pytest.mark.parametrize("use", ["ping", "upsert", "rows"])
def test_a_locked_table_is_given_up_in_time(database, open_store, use):
    store = open_store(database)
    store.ping()
    with locked(database):
        fault(uses(store)[use], "no answer within 0.4 s")
    store.upsert(ROWS)
    assert all_of(store) == ROWS


def test_sessions_we_gave_up_end_on_the_server_while_the_lock_lasts(database, open_store):
    store = open_store(database)
    store.ping()
    with locked(database):
        fault(lambda: store.upsert(ROWS), "no answer within 0.4 s")
        assert sessions(database, "wait_event_type = 'Lock'") == 1
        eventually(lambda: sessions(database) == 0)
