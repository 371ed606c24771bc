import threading

import pytest

from marketflow.adapters.storage.sqlite_file import DatabaseCorrupt, SqliteFile
from marketflow.domain.errors import StorageUnavailable


@pytest.fixture
def file(tmp_path):
    def prepare(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS thing (name TEXT)")

    file = SqliteFile(tmp_path / "things.db", "things", prepare=prepare)
    yield file
    file.close()


def names(file):
    with file.connection() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM thing")]


def add(file, name):
    with file.transaction() as connection:
        connection.execute("INSERT INTO thing VALUES (?)", (name,))


def test_a_corruption_reported_late_does_not_set_the_new_file_aside(file):
    file.path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseCorrupt) as corrupt:
        names(file)
    assert file.set_aside(corrupt.value, ".first")
    add(file, "kept")
    assert not file.set_aside(corrupt.value, ".second")
    assert names(file) == ["kept"]
    assert sorted(path.name for path in file.path.parent.glob("*.first*")) == ["things.db.first"]


def test_a_transaction_that_fails_leaves_nothing(file):
    def add_half():
        with file.transaction() as connection:
            connection.execute("INSERT INTO thing VALUES ('half')")
            raise RuntimeError("unexpected")

    add(file, "before")
    with pytest.raises(RuntimeError, match="unexpected"):
        add_half()
    add(file, "after")
    assert names(file) == ["before", "after"]


def test_a_connection_is_lent_to_one_thread_at_a_time_and_used_again(file):
    lent = []
    with file.connection() as first, file.connection() as second:
        assert first is not second
        lent += [first, second]

    def use():
        with file.connection() as connection:
            lent.append(connection)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert lent[2] in lent[:2]


def test_a_connection_in_use_while_the_file_is_closed_is_closed_afterwards(file):
    with file.connection() as connection:
        file.close()
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(StorageUnavailable, match=r"^things things\.db: it was closed$"):
        names(file)
