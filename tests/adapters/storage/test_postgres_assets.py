import re
import threading
from contextlib import closing

import pytest

from marketflow.adapters.storage.postgres_assets import TABLE, PostgresAssetHistory
from marketflow.adapters.storage.postgres_server import PostgresServer
from marketflow.domain.asset import HistoryItem
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.adapters.storage.postgres_rig import DEADLINE_S, eventually, fault, locked, sessions

pytest_plugins = ("tests.server_fixtures",)
pytestmark = pytest.mark.slow

NOW_S = 1_746_446_400
ITEMS = [HistoryItem("btcusdt", NOW_S - n, 79_450.12 + n, NOW_S + 5) for n in range(30)]


@pytest.fixture
def opened(database):
    """Open a history with short deadlines."""
    histories = []

    def open_one(**changes):
        settings = {
            "sslmode": "prefer",
            "connect_timeout_s": DEADLINE_S,
            "statement_timeout_s": DEADLINE_S,
        }
        where = PostgresServer(**(database.address() | settings | changes))
        histories.append(PostgresAssetHistory(where))
        return histories[-1]

    yield open_one
    for history in histories:
        history.close()


@pytest.fixture
def history(opened):
    return opened(connect_timeout_s=3, statement_timeout_s=3)


def all_of(history, asset="btcusdt"):
    return history.newest(Mode.LIVE, asset, 0, 2**62, 10_000)


def uses(history):
    return {
        "ping": history.ping,
        "append": lambda: history.append(Mode.LIVE, ITEMS),
        "newest": lambda: all_of(history),
        "trim": lambda: history.trim(0),
    }


def demanded(history):
    """Return the statements that the refusal asks for."""
    with pytest.raises(StorageUnavailable) as refusal:
        history.ping()
    found = re.fullmatch(
        r"postgres at \S+: table asset_prices has an older shape, run: (ALTER TABLE .*;)",
        str(refusal.value),
    )
    assert found, str(refusal.value)
    return found[1]


def test_the_table_is_created_by_whatever_comes_first(opened, database):
    for use in ("ping", "append", "newest", "trim"):
        uses(opened(statement_timeout_s=3))[use]()
        assert database.sql("SELECT to_regclass('asset_prices') IS NULL") == [(False,)]
        database.sql("DROP TABLE asset_prices")


def test_the_table_reads_like_its_documentation(history, database):
    history.append(Mode.TEST, ITEMS[:1])
    assert database.sql("SELECT mode, asset, timestamp, price, updated_at FROM asset_prices") == [
        ("test", "btcusdt", 1_746_446_400, 79_450.12, 1_746_446_405)
    ]


def test_instances_that_start_at_once_all_find_the_table(opened):
    histories = [opened(connect_timeout_s=5, statement_timeout_s=5) for _ in range(6)]
    together = threading.Barrier(len(histories))
    failures = []

    def start(history):
        together.wait()
        try:
            history.ping()
        except StorageUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(history,)) for history in histories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("column", TABLE.columns)
def test_a_missing_column_is_refused_with_the_statement_that_adds_it(history, database, column):
    history.ping()
    database.sql(f'ALTER TABLE asset_prices DROP COLUMN "{column}" CASCADE')
    for use in uses(history).values():
        with pytest.raises(StorageUnavailable):
            use()
    statements = demanded(history)
    assert f"ADD COLUMN {column}" in statements.replace('"', "")
    database.sql(statements)
    history.append(Mode.LIVE, ITEMS)
    assert all_of(history) == ITEMS


@pytest.mark.parametrize(
    ("column", "found", "how"),
    [
        ("timestamp", "timestamp with time zone", 'to_timestamp("timestamp")'),
        ("timestamp", "timestamp", "to_timestamp(\"timestamp\") AT TIME ZONE 'UTC'"),
        ("updated_at", "timestamp with time zone", "to_timestamp(updated_at)"),
        ("updated_at", "integer", "updated_at::integer"),
        ("price", "numeric", "price::numeric"),
    ],
)
def test_a_wrong_type_is_refused_with_the_statement_that_converts_it(
    history, database, column, found, how
):
    history.append(Mode.LIVE, ITEMS)
    database.sql(f'ALTER TABLE asset_prices ALTER COLUMN "{column}" TYPE {found} USING {how}')
    database.sql(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Tokyo'")
    database.sql(demanded(history))
    history.ping()
    assert all_of(history) == ITEMS


def test_another_key_is_refused_with_the_statements_that_replace_it(history, database):
    history.append(Mode.LIVE, ITEMS)
    database.sql(
        "ALTER TABLE asset_prices DROP CONSTRAINT asset_prices_pkey, "
        'ADD PRIMARY KEY (asset, "timestamp")'
    )
    statements = demanded(history)
    assert statements == (
        "ALTER TABLE asset_prices DROP CONSTRAINT asset_prices_pkey, "
        'ADD PRIMARY KEY (mode, asset, "timestamp");'
    )
    database.sql(statements)
    assert all_of(history) == ITEMS


def test_a_row_without_a_price_is_reported(history, database):
    history.append(Mode.LIVE, ITEMS)
    database.sql("ALTER TABLE asset_prices ALTER COLUMN price DROP NOT NULL")
    database.sql("UPDATE asset_prices SET price = NULL")
    with pytest.raises(StorageUnavailable, match="a row of asset_prices of btcusdt must have a p"):
        all_of(history)


def test_a_trim_takes_some_thousands_of_rows_and_the_next_goes_on(history, database):
    for asset in ("adausdt", "btcusdt", "ethusdt", "solusdt", "tonusdt"):
        history.append(Mode.LIVE, [HistoryItem(asset, n, 1.0, n) for n in range(2_501)])
    left = []
    for _ in range(3):
        history.trim(2_500)
        left += database.sql("SELECT count(*) FROM asset_prices")[0]
    assert left == [4_505, 2_005, 5]


def test_a_server_that_is_stopped_is_used_again_when_it_is_back(opened, database):
    history = opened()
    history.append(Mode.LIVE, ITEMS[:10])
    database.server.stop()
    for use in uses(history).values():
        fault(use, "connection refused")
    database.server.start()
    history.append(Mode.LIVE, ITEMS[10:])
    assert all_of(history) == ITEMS


def test_a_server_restarted_unseen_costs_nothing(opened, database):
    history = opened()
    history.append(Mode.LIVE, ITEMS[:10])
    database.server.restart()
    history.append(Mode.LIVE, ITEMS[10:])
    assert all_of(history) == ITEMS


@pytest.mark.parametrize("use", ["ping", "append", "newest", "trim"])
def test_a_frozen_server_is_given_up_in_time(opened, database, use):
    history = opened()
    history.ping()
    database.server.pause()
    fault(uses(history)[use], "no answer within 0.4 s")
    database.server.resume()
    history.append(Mode.LIVE, ITEMS)
    assert all_of(history) == ITEMS


def test_a_locked_table_is_left_in_time(opened, database):
    history = opened()
    history.ping()
    with locked(database, "asset_prices"):
        fault(uses(history)["append"], "no answer within 0.4 s")
    history.append(Mode.LIVE, ITEMS)
    assert all_of(history) == ITEMS


def test_it_takes_two_connections_at_most(opened, database):
    history = opened(statement_timeout_s=3)
    history.ping()
    threads = [threading.Thread(target=history.ping) for _ in range(8)]
    with locked(database, "asset_prices"):
        for thread in threads:
            thread.start()
        eventually(lambda: sessions(database) == 2)
    for thread in threads:
        thread.join()
    assert sessions(database) == 2


def test_no_message_holds_the_password(opened):
    history = opened(password="hunter2-secret", port=1)
    with pytest.raises(StorageUnavailable) as failure:
        history.ping()
    assert "hunter2" not in str(failure.value)


def test_two_instances_that_write_the_same_never_lock_each_other_out(opened):
    one, other = opened(statement_timeout_s=5), opened(statement_timeout_s=5)
    one.ping()
    failures = []

    def write(history, items):
        try:
            for _ in range(20):
                history.append(Mode.LIVE, items)
        except StorageUnavailable as error:
            failures.append(error)

    many = [HistoryItem(f"asset{n}", NOW_S, 1.0, NOW_S) for n in range(400)]
    threads = [
        threading.Thread(target=write, args=arguments)
        for arguments in ((one, many), (other, many[::-1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_closed_history_is_unavailable(opened):
    history = opened()
    history.ping()
    with closing(history):
        pass
    for use in uses(history).values():
        with pytest.raises(StorageUnavailable, match="it was closed"):
            use()
