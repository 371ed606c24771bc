import threading
from contextlib import closing

import pytest

from marketflow.adapters.storage.postgres_pool import PostgresPool
from marketflow.adapters.storage.postgres_server import PostgresServer as Target
from tests.adapters.storage.postgres_rig import DEADLINE_S, ROWS, all_of, fault
from tests.examples import minute_row

pytest_plugins = ("tests.server_fixtures",)
pytestmark = pytest.mark.slow


@pytest.fixture
def pool(database):
    server = Target(
        **database.address(), sslmode="", connect_timeout_s=3, statement_timeout_s=DEADLINE_S
    )
    with closing(PostgresPool(server, 1)) as pool:
        yield pool


def test_connections_that_died_unseen_are_replaced_without_a_word(database, open_store, proxy):
    store = open_store(database, port=proxy.port)
    store.ping()
    proxy.cut()
    assert store.upsert(ROWS) == []
    database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE application_name = 'marketflow'")  # fmt: skip
    assert all_of(store) == ROWS
    assert proxy.connections == 3


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


def test_who_finds_every_connection_in_use_is_told_after_the_deadline(pool):
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


def test_an_answer_is_whole_even_if_its_connection_ends_at_once(pool):
    def ask(connection):
        answer = connection.execute("SELECT generate_series(1, 2500)")
        pool.close()
        return answer

    assert list(pool.run(ask)) == [(n,) for n in range(1, 2501)]
