import sqlite3
import threading
from contextlib import closing

import pytest

from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.adapters.storage.sqlite_assets import SqliteAssetHistory
from marketflow.domain.asset import HistoryItem
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import minute_row

NOW_S = 1_746_446_400
ITEM = HistoryItem("btcusdt", NOW_S, 79_450.12, NOW_S + 5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "marketflow.db"


@pytest.fixture
def history(path):
    with closing(SqliteAssetHistory(path)) as history:
        yield history


def all_of(history, asset="btcusdt"):
    return history.newest(Mode.LIVE, asset, 0, 2**62, 100_000)


def uses(history):
    return (
        history.ping,
        lambda: history.append(Mode.LIVE, [ITEM]),
        lambda: all_of(history),
        lambda: history.trim(NOW_S),
    )


def ask(path, sql):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql).fetchall()


def test_nothing_is_created_before_the_first_use(history, path):
    assert not path.parent.exists()
    history.ping()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_table_reads_like_its_documentation(history, path):
    history.append(Mode.TEST, [ITEM])
    assert ask(path, "SELECT mode, asset, timestamp, price, updated_at FROM asset_prices") == [
        ("test", "btcusdt", 1_746_446_400, 79_450.12, 1_746_446_405)
    ]


@pytest.mark.parametrize(
    "condition",
    [
        "mode = 'live' AND asset = 'a' AND timestamp < 2 ORDER BY timestamp DESC",
        "(mode, asset) > ('live', 'a') ORDER BY mode, asset",
    ],
)
def test_items_and_assets_are_found_by_the_key(history, path, condition):
    history.ping()
    plan = ask(path, f"EXPLAIN QUERY PLAN SELECT * FROM asset_prices WHERE {condition} LIMIT 1")
    assert [step.split(" USING ")[0] for *_, step in plan] == ["SEARCH asset_prices"]


def test_it_lives_beside_the_minutes_in_one_file(history, path):
    with closing(SqliteStore(path)) as store:
        store.upsert([minute_row()])
        failures = []

        def write():
            try:
                for n in range(100):
                    history.append(Mode.LIVE, [ITEM._replace(timestamp_s=NOW_S + n)])
            except StorageUnavailable as error:
                failures.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        for n in range(100):
            store.upsert([minute_row(tick_count=1_000 + n)])
        writer.join()
        assert failures == []
        assert store.rows(Mode.LIVE, "BTCUSDT", None, 0, 2**62) == [minute_row(tick_count=1_099)]
    assert len(all_of(history)) == 100


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("asset TEXT, price REAL", "asset TEXT, price REAL"),
        (
            "mode TEXT, asset TEXT, timestamp TEXT, price REAL, PRIMARY KEY (asset)",
            "mode TEXT, asset TEXT key 1, timestamp TEXT, price REAL",
        ),
    ],
)
def test_a_table_of_another_shape_is_refused_by_name_and_left_as_it_is(history, path, table, found):
    path.parent.mkdir()
    ask(path, f"CREATE TABLE asset_prices ({table})")
    for use in uses(history):
        with pytest.raises(StorageUnavailable) as refusal:
            use()
        assert str(refusal.value) == (
            "sqlite marketflow.db: table asset_prices must have mode TEXT key 1, asset TEXT key 2, "
            f"timestamp INTEGER key 3, price REAL, updated_at INTEGER, was {found}"
        )
    ask(path, "DROP TABLE asset_prices")
    history.append(Mode.LIVE, [ITEM])
    assert all_of(history) == [ITEM]


def test_a_dropped_table_is_created_again(history, path):
    history.append(Mode.LIVE, [ITEM])
    ask(path, "DROP TABLE asset_prices")
    with pytest.raises(StorageUnavailable, match="no such table"):
        history.append(Mode.LIVE, [ITEM])
    history.append(Mode.LIVE, [ITEM])
    assert all_of(history) == [ITEM]


@pytest.mark.parametrize("how", ["garbage", "flipped pages"])
def test_a_corrupt_file_is_reported_and_left_as_it_is(path, how):
    with closing(SqliteAssetHistory(path)) as history:
        history.append(Mode.LIVE, [ITEM._replace(timestamp_s=n) for n in range(1_000)])
    data = path.read_bytes()
    corrupt = b"not a database" * 1000 if how == "garbage" else data[:4096] + b"\xff" * 8192
    path.write_bytes(corrupt)
    with closing(SqliteAssetHistory(path)) as history:
        for use in uses(history)[1:]:
            with pytest.raises(StorageUnavailable, match=r"^sqlite marketflow\.db: .*(not a|malf)"):
                use()
    assert path.read_bytes() == corrupt
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(data)
    with closing(SqliteAssetHistory(path)) as history:
        assert len(all_of(history)) == 1_000


def test_a_directory_that_cannot_be_written_heals(history, path):
    path.parent.write_text("in the way")
    for use in uses(history):
        with pytest.raises(StorageUnavailable, match=r"^sqlite marketflow\.db: File exists$"):
            use()
    path.parent.unlink()
    history.append(Mode.LIVE, [ITEM])
    assert all_of(history) == [ITEM]


def test_a_batch_is_written_whole_or_not_at_all(history):
    history.append(Mode.LIVE, [ITEM])
    with pytest.raises(StorageUnavailable, match="NOT NULL"):
        history.append(Mode.LIVE, [ITEM._replace(price=2.0), ITEM._replace(price=None)])
    assert all_of(history) == [ITEM]


def test_a_trim_takes_some_thousands_of_rows_and_the_next_goes_on(history, path):
    items = [HistoryItem("btcusdt", n, 1.0, n) for n in range(20_000)]
    history.append(Mode.LIVE, items)
    left = []
    for _ in range(4):
        history.trim(19_000)
        left += [len(all_of(history))]
    assert left == [12_000, 4_000, 1_000, 1_000]
    assert all_of(history) == items[:18_999:-1]


def test_a_closed_history_is_unavailable(history):
    history.ping()
    history.close()
    history.close()
    for use in uses(history):
        with pytest.raises(StorageUnavailable, match="closed"):
            use()
