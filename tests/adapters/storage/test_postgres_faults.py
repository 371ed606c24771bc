import re
import threading
import time
import traceback
from contextlib import closing, contextmanager

import pytest

from marketflow.adapters.storage.postgres_pool import PostgresPool
from marketflow.adapters.storage.postgres_server import PostgresServer as Target
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.proxy import Proxy
from tests.servers import SCHEMA, Database, PostgresServer, free_port

pytest_plugins = ("tests.server_fixtures",)

ROWS = [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(30)]
DEADLINE_S = 0.4  # of the stores that `open_store` opens
PASSWORD = r"o'Hara\s 5ecret"


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


def test_connections_that_died_unseen_are_replaced_without_a_word(database, open_store, proxy):
    store = open_store(database, port=proxy.port)
    store.ping()
    proxy.cut()
    assert store.upsert(ROWS) == []
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE application_name = 'marketflow'")  # fmt: skip
    assert all_of(store) == ROWS
    assert proxy.connections == 3


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


def test_after_a_failure_no_connection_of_that_time_is_used_again(database, open_store, proxy):
    store = open_store(database, port=proxy.port)
    together = threading.Barrier(3)

    def use():
        together.wait()
        for _ in range(20):
            store.ping()

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.swallow()
    fault(store.ping, "no answer within 0.4 s")
    proxy.heal()
    before = proxy.connections
    store.ping()
    assert proxy.connections == before + 1


def test_there_are_never_more_connections_than_allowed(database, open_store):
    store = open_store(database, pool_size=2, statement_timeout_s=5)
    store.ping()
    most = []
    done = threading.Event()

    def watch():
        with closing(database.session()) as session:
            cursor = session.cursor()
            while not done.is_set():
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'marketflow'"
                )
                most.append(cursor.fetchone()[0])

    def write(name):
        for row in ROWS:
            store.upsert([minute_row(timestamp_ms=row.timestamp_ms, exchange=name)])

    watcher = threading.Thread(target=watch)
    writers = [threading.Thread(target=write, args=(f"exchange{n}",)) for n in range(8)]
    for thread in (watcher, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    watcher.join()
    assert max(most) == 2
    assert len(all_of(store)) == 8 * len(ROWS)


def test_who_finds_every_connection_in_use_is_told_after_the_deadline(database):
    server = Target(
        **database.address(), sslmode="", connect_timeout_s=0.4, statement_timeout_s=DEADLINE_S
    )
    pool = PostgresPool(server, 1)
    taken, enough = threading.Event(), threading.Event()

    def hold(_):
        taken.set()
        enough.wait()

    holder = threading.Thread(target=pool.run, args=(hold,))
    holder.start()
    taken.wait()
    fault(lambda: pool.run(lambda _: None), "all 1 connections are in use")
    enough.set()
    holder.join()
    pool.run(lambda _: None)
    pool.close()


@pytest.fixture(scope="module")
def guarded():
    """A database with a password, on a server with few connections."""
    few = {"max_connections": 4, "superuser_reserved_connections": 0, "max_wal_senders": 0}
    with PostgresServer(password=PASSWORD, settings=few) as server:
        yield Database(server, "postgres")


def test_a_password_with_special_characters_opens_the_door(guarded, open_store):
    store = open_store(guarded)
    store.upsert(ROWS)
    assert all_of(store) == ROWS


def test_a_wrong_password_is_told_without_it_and_heals(guarded, open_store):
    guarded.sql("CREATE ROLE reader LOGIN SUPERUSER PASSWORD 'first'")
    store = open_store(guarded, user="reader", password="second")
    fault(store.ping, 'password authentication failed for user "reader"')
    guarded.sql("ALTER ROLE reader PASSWORD 'second'")
    store.ping()


def test_a_full_server_is_told_and_heals(guarded, open_store):
    store = open_store(guarded)
    crowd = [guarded.session() for _ in range(4)]
    fault(store.ping, "sorry, too many clients already")
    for session in crowd:
        session.close()
    eventually(lambda: works(store.ping))


def test_no_message_of_any_fault_holds_the_password(guarded, open_store, caplog):
    told = []

    def listen(use):
        try:
            use()
        except StorageUnavailable as error:
            told.extend([repr(error), *traceback.format_exception(error)])

    with Proxy(guarded.server.host, guarded.server.port) as proxy:
        stores = [
            open_store(guarded, port=proxy.port),
            open_store(guarded, port=free_port()),
            open_store(guarded, host="no such host"),
            open_store(guarded, database="elsewhere"),
            open_store(guarded, user="nobody"),
            open_store(guarded, sslmode="require"),
            open_store(guarded, sslmode=f"'{PASSWORD}"),
            open_store(guarded, sslmode=PASSWORD),
            open_store(guarded, password=f"{PASSWORD}\0"),
        ]
        for happen in (proxy.heal, proxy.cut, proxy.swallow, proxy.heal, proxy.refuse):
            happen()
            for store in stores:
                listen(store.ping)
        listen(lambda: stores[0].upsert([minute_row(pair_name=PASSWORD, tick_count=0)]))
    assert len(told) > 30
    text = "\n".join(told) + caplog.text
    for secret in (PASSWORD, PASSWORD.replace("\\", "\\\\").replace("'", "\\'"), "5ecret"):
        assert secret not in text
    assert "***" in text
