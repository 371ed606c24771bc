import sqlite3
import threading
import time

import pytest

from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.application.ports import RefusedRow
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row

FOREVER = (0, 2**62)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "marketflow.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path)
    yield store
    store.close()


def all_of(store):
    return store.rows(Mode.LIVE, "BTCUSDT", None, *FOREVER)


def ask(path, sql):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_nothing_is_created_before_the_first_use(store, path):
    assert not path.parent.exists()
    store.ping()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_table_reads_like_its_documentation(store, path):
    store.upsert([minute_row()])
    columns = [name for _, name, *_ in ask(path, "PRAGMA table_info(market_data)")]
    assert ", ".join(columns) == (
        "pair_name, exchange, timestamp, average_price, min_price, max_price, open_price, "
        "close_price, open_at, close_at, min_at, max_at, tick_count, mode"
    )
    ((timestamp, opened),) = ask(path, "SELECT timestamp, open_at FROM market_data")
    assert timestamp == "2025-05-05T12:00:00.000Z"
    assert opened == "2025-05-05T11:59:00.001Z"


@pytest.mark.parametrize("exchange", [None, "exchange1"])
def test_a_pairs_rows_are_found_by_an_index(store, path, exchange):
    store.ping()
    where = " AND exchange = 'exchange1'" if exchange else ""
    plan = ask(
        path,
        "EXPLAIN QUERY PLAN SELECT * FROM market_data WHERE mode = 'live' AND pair_name = 'A' "
        f"AND timestamp >= '2025' AND timestamp < '2026'{where} ORDER BY timestamp, exchange",
    )
    assert all("SEARCH" in step and "timestamp>" in step for *_, step in plan)


def test_a_refused_row_is_told_with_the_broken_constraint(store):
    wrong = minute_row(tick_count=0)
    refused = store.upsert([minute_row(exchange="exchange2"), wrong, minute_row()])
    assert refused == [RefusedRow(wrong, "CHECK constraint failed: tick_count > 0")]
    assert all_of(store) == [minute_row(), minute_row(exchange="exchange2")]


def test_a_text_that_is_no_text_is_refused(store):
    ((row, reason),) = store.upsert([minute_row(), minute_row(exchange="\udc80")])
    assert (row.exchange, "surrogates not allowed" in reason) == ("\udc80", True)
    assert all_of(store) == [minute_row()]


def test_rows_survive_the_process(store, path):
    store.upsert([minute_row()])
    store.close()
    again = SqliteStore(path)
    assert all_of(again) == [minute_row()]
    again.close()


def test_a_closed_store_is_unavailable(store):
    store.ping()
    store.close()
    store.close()
    with pytest.raises(StorageUnavailable, match="closed"):
        store.ping()


def test_threads_may_read_while_another_writes(store):
    rows = [
        minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS, exchange=name)
        for n in range(60)
        for name in ("exchange1", "exchange2")
    ]
    store.ping()
    done = threading.Event()
    failures = []

    def read():
        try:
            while not done.is_set():
                found = all_of(store)
                assert len(found) % 2 == 0, "half a transaction was seen"
                assert found == rows[: len(found)]
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for place in range(0, len(rows), 2):
        store.upsert(rows[place : place + 2])
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert all_of(store) == rows


def test_two_instances_on_one_file_keep_the_better_informed_rows(store, path):
    other = SqliteStore(path)
    store.upsert([minute_row(tick_count=7)])
    other.upsert([minute_row(tick_count=9), minute_row(exchange="exchange2", tick_count=1)])
    store.upsert([minute_row(tick_count=8), minute_row(exchange="exchange2", tick_count=2)])
    other.close()
    assert [row.tick_count for row in all_of(store)] == [9, 2]


def test_a_locked_database_is_waited_for_then_unavailable(store, path):
    store.ping()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match="database is locked"):
        store.upsert([minute_row()])
    assert 1.5 < time.monotonic() - began < 10
    assert all_of(store) == [], "reading goes on"
    blocker.close()
    store.upsert([minute_row()])
    assert all_of(store) == [minute_row()]


@pytest.mark.parametrize("how", ["garbage", "flipped pages"])
def test_a_corrupt_store_is_reported_and_left_as_it_is(store, path, how):
    store.upsert([minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(200)])
    store.close()
    data = path.read_bytes()
    corrupt = b"not a database" * 1000 if how == "garbage" else data[:4096] + b"\xff" * 8192
    path.write_bytes(corrupt)
    store = SqliteStore(path)
    for use in (lambda: store.upsert([minute_row()]), lambda: all_of(store)):
        with pytest.raises(StorageUnavailable, match=r"^sqlite marketflow\.db: .*(not a|malform)"):
            use()
    store.close()
    assert path.read_bytes() == corrupt
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(data)
    store = SqliteStore(path)
    assert len(all_of(store)) == 200
    store.close()


def test_a_directory_that_cannot_be_created_heals(store, path):
    path.parent.write_text("in the way")
    with pytest.raises(StorageUnavailable, match=r"^sqlite marketflow\.db: File exists$"):
        store.ping()
    path.parent.unlink()
    store.ping()


def test_a_deleted_file_is_created_again_instead_of_writing_into_a_ghost(store, path):
    store.upsert([minute_row()])
    path.unlink()
    store.ping()
    store.upsert([minute_row(exchange="exchange2")])
    assert all_of(store) == [minute_row(exchange="exchange2")]
    assert ask(path, "SELECT exchange FROM market_data") == [("exchange2",)]


def test_a_deleted_directory_is_created_again(store, path):
    store.upsert([minute_row()])
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    store.upsert([minute_row(exchange="exchange2")])
    assert ask(path, "SELECT exchange FROM market_data") == [("exchange2",)]


def test_a_file_put_in_its_place_is_used_without_the_old_files_log(store, path, tmp_path):
    backup = SqliteStore(tmp_path / "backup.db")
    backup.upsert([minute_row(exchange="backup")])
    backup.close()
    store.upsert([minute_row(), minute_row(exchange="exchange2")])
    (tmp_path / "backup.db").rename(path)
    assert all_of(store) == [minute_row(exchange="backup")]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_dropped_table_is_created_by_the_next_ping(store, path):
    store.ping()
    ask(path, "DROP TABLE market_data")
    with pytest.raises(StorageUnavailable, match="no such table"):
        store.upsert([minute_row()])
    store.ping()
    store.upsert([minute_row()])


def test_a_row_somebody_wrote_by_hand_is_reported(store, path):
    store.upsert([minute_row()])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE market_data SET open_at = 'noon'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageUnavailable, match="times must be RFC 3339 text"):
        all_of(store)
