import math
import threading
from contextlib import closing
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketflow.application.ports import Page, RefusedRow
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row

pytest_plugins = ("tests.server_fixtures",)
pytestmark = pytest.mark.slow

FOREVER = (0, 2**62)
LATEST_MS = 253_402_300_799_999
ONE_STORE_FOR_ALL = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def store(database, open_store):
    return open_store(database, connect_timeout_s=3, statement_timeout_s=3)


def all_of(store):
    return store.rows(Mode.LIVE, "BTCUSDT", None, *FOREVER)


def minutes(count, **changes):
    return [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS, **changes) for n in range(count)]


def test_the_table_reads_like_its_documentation(store, database):
    store.upsert([minute_row()])
    columns = database.sql(
        "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) "
        "FROM information_schema.columns WHERE table_name = 'market_data'"
    )
    assert columns[0][0] == (
        "pair_name text, exchange text, timestamp timestamp with time zone, "
        "average_price double precision, min_price double precision, max_price double precision, "
        "open_price double precision, close_price double precision, "
        "open_at timestamp with time zone, close_at timestamp with time zone, "
        "min_at timestamp with time zone, max_at timestamp with time zone, "
        "tick_count bigint, mode text"
    )


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/New_York"])
def test_times_mean_the_same_in_every_time_zone(store, database, zone):
    database.sql(f"ALTER DATABASE {database.name} SET timezone = '{zone}'")
    rows = minutes(3, open_at_ms=1_741_503_600_001)  # an hour that New York does not have
    store.upsert(rows)
    assert all_of(store) == rows
    stored = database.sql("SELECT min(timestamp AT TIME ZONE 'UTC')::text FROM market_data")
    assert stored == [("2025-05-05 12:00:00",)]


def test_prices_are_exact_even_where_the_database_rounds_for_others(store, database):
    database.sql(f"ALTER DATABASE {database.name} SET extra_float_digits = 0")
    row = minute_row(min_price=0.1, average_price=0.1 + 0.2)
    store.upsert([row])
    assert all_of(store) == [row]


PRICES = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)


@ONE_STORE_FOR_ALL
@given(prices=st.lists(st.lists(PRICES, min_size=5, max_size=5).map(sorted), max_size=20))
def test_every_price_comes_back_to_the_bit(store, prices):
    rows = [
        minute_row(
            timestamp_ms=NOON_MS + n * MINUTE_MS,
            min_price=low,
            average_price=average,
            open_price=opened,
            close_price=closed,
            max_price=high,
        )
        for n, (low, average, opened, closed, high) in enumerate(prices)
    ]
    assert store.upsert(rows) == []
    assert all_of(store)[: len(rows)] == rows


@ONE_STORE_FOR_ALL
@given(times=st.lists(st.integers(0, LATEST_MS), min_size=1, max_size=50))
def test_every_time_comes_back_to_the_millisecond(store, times):
    rows = [
        minute_row(
            exchange=str(n), open_at_ms=at, close_at_ms=at, min_at_ms=at, max_at_ms=LATEST_MS - at
        )
        for n, at in enumerate(times)
    ]
    ends = [minute_row(pair_name="ENDS", timestamp_ms=at) for at in set(times)]
    assert store.upsert([*rows, *ends]) == []
    found = {row.exchange: row for row in all_of(store)}
    assert [found[row.exchange] for row in rows] == rows
    for end in ends:
        at = end.timestamp_ms
        assert store.rows(Mode.LIVE, "ENDS", None, at, at + 1) == [end][: at < LATEST_MS]


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@ONE_STORE_FOR_ALL
@given(names=st.lists(NAMES | st.sampled_from(["", "NULL", '"', "\\", "'", "{a,b}", "%s", " a"])))
def test_every_name_comes_back_as_it_was(store, names):
    rows = [minute_row(pair_name=name, exchange=name) for name in names]
    assert store.upsert(rows) == []
    for row in rows:
        assert store.rows(Mode.LIVE, row.pair_name, row.exchange, *FOREVER) == [row]


NONSENSE = {
    "market_data_range": [{"min_price": 0.0}, {"min_price": -1.0}, {"max_price": math.inf}],
    "market_data_average": [{"average_price": 98_000.0}, {"average_price": math.nan}],
    "market_data_open": [{"open_price": 1.0}],
    "market_data_close": [{"close_price": 200_000.0}],
    "market_data_ticks": [{"tick_count": 0}],
    "out of range": [{"tick_count": 2**63}, {"max_at_ms": 2**70}, {"open_at_ms": 2**62}],
    "invalid input syntax": [{"average_price": "cheap"}],
    "NUL": [{"exchange": "exchange\0"}],
    "surrogates not allowed": [{"pair_name": "\udc80"}],
    "maximum size": [{"pair_name": Random(1).randbytes(6000).hex()}],
}


@pytest.mark.parametrize(
    ("reason", "nonsense"), [(reason, each) for reason in NONSENSE for each in NONSENSE[reason]]
)
def test_a_nonsensical_row_is_refused_with_the_reason(store, reason, nonsense):
    wrong = minute_row(**nonsense)
    good = minute_row(exchange="exchange2")
    ((refused, why),) = store.upsert([wrong, good])
    assert refused is wrong
    assert reason in why
    assert "\n" not in why
    assert all_of(store) == [good]


def test_all_but_the_refused_rows_of_a_large_call_are_stored(store):
    rows = minutes(1700)
    wrong = Random(2).sample(range(1700), 20)
    for n in wrong:
        rows[n] = minute_row(timestamp_ms=rows[n].timestamp_ms, tick_count=-1)
    refused = store.upsert(rows)
    assert [row for row, _ in refused] == [rows[n] for n in sorted(wrong)]
    assert all_of(store) == [row for row in rows if row.tick_count > 0]


def test_what_a_trigger_objects_to_is_refused(store, database):
    store.ping()
    database.sql(
        "CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not on a Monday'; END $$; CREATE TRIGGER objection "
        "BEFORE INSERT ON market_data FOR EACH ROW WHEN (NEW.tick_count = 7) "
        "EXECUTE FUNCTION object()"
    )
    monday = minute_row(tick_count=7)
    assert store.upsert([*minutes(5)[1:], monday]) == [RefusedRow(monday, "not on a Monday")]
    assert all_of(store) == minutes(5)[1:]


def test_versions_of_one_row_in_one_call_count_one_after_the_other(store):
    wrong = minute_row(tick_count=9, open_price=1.0)
    arrivals = [
        minute_row(tick_count=3, average_price=100_000.0),
        minute_row(exchange="exchange2", tick_count=1),
        wrong,
        minute_row(tick_count=3, average_price=100_000.5),
        minute_row(tick_count=2),
    ]
    assert [row for row, _ in store.upsert(arrivals)] == [wrong]
    assert all_of(store) == [arrivals[3], arrivals[1]]


def test_a_call_of_500_rows_is_seen_whole_or_not_at_all(store, database, open_store):
    store.ping()
    reader = open_store(database, statement_timeout_s=3)
    seen = set()
    done = threading.Event()

    def read():
        while not done.is_set():
            seen.add(len(all_of(reader)))

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(1, 11):
        store.upsert(minutes(500, exchange=f"exchange{n}"))
    done.set()
    thread.join()
    assert {count % 500 for count in seen} == {0}


def test_a_row_without_a_value_written_by_somebody_else_is_reported(store, database):
    store.upsert([minute_row()])
    database.sql("ALTER TABLE market_data ALTER COLUMN open_at DROP NOT NULL")
    database.sql("UPDATE market_data SET open_at = NULL")
    with pytest.raises(StorageUnavailable, match="no value may be null"):
        all_of(store)


@pytest.mark.parametrize("exchange", [None, "exchange1"])
def test_a_pairs_rows_are_found_by_an_index(store, database, exchange):
    store.upsert(minutes(2000))
    database.sql("ANALYZE market_data")
    plan = database.sql(
        "EXPLAIN SELECT * FROM market_data WHERE mode = 'live' AND pair_name = 'BTCUSDT' "
        "AND (%s::text IS NULL OR exchange = %s::text) AND timestamp >= '2025-05-05 12:00Z' "
        "AND timestamp < '2025-05-05 12:30Z' ORDER BY timestamp, exchange",
        (exchange, exchange),
    )
    text = "\n".join(line for (line,) in plan)
    assert "Index" in text
    assert "Seq Scan" not in text
    assert "Filter" not in text


def test_two_instances_that_write_the_same_rows_never_lock_each_other_out(database, open_store):
    rows = minutes(400)
    stores = [open_store(database, statement_timeout_s=5) for _ in range(2)]
    failures = []

    def write(store, arrivals):
        try:
            for _ in range(15):
                store.upsert(arrivals)
        except StorageUnavailable as error:
            failures.append(error)

    threads = [
        threading.Thread(target=write, args=work)
        for work in zip(stores, (rows, rows[::-1]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all_of(stores[0]) == rows


def test_a_closed_store_is_unavailable_and_holds_no_connection(store, database):
    store.ping()
    store.close()
    store.close()
    with pytest.raises(StorageUnavailable, match=r"^postgres at 127\.0\.0\.1:\d+: it was closed$"):
        store.ping()
    with closing(database.session()) as session:
        cursor = session.cursor()
        for _ in range(500):
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'marketflow' AND datname = current_database()"
            )
            if cursor.fetchone() == (0,):
                return
    pytest.fail("the connection is still open")


def test_a_socket_in_a_folder_serves_as_host(database, open_store):
    store = open_store(database, host=str(database.server.directory))
    store.upsert([minute_row()])
    assert all_of(store) == [minute_row()]


def test_pages_go_by_the_bytes_of_names_whatever_the_databases_language(store, database):
    store.ping()
    database.sql('ALTER TABLE market_data ALTER exchange TYPE text COLLATE "en-x-icu"')
    rows = [minute_row(exchange=name) for name in ("B-1", "Zeta", "a.1", "a1", "alpha", "b_1")]
    store.upsert(rows)
    found, after = [], None
    while page := store.rows(Mode.LIVE, "BTCUSDT", None, NOON_MS, 2**50, Page(1, after=after)):
        found += page
        after = page[-1].exchange
    assert found == rows
    assert store.rows(Mode.LIVE, "BTCUSDT", None, *FOREVER, Page(3, newest=True)) == rows[3:]
    runs = store.runs(Mode.LIVE, "BTCUSDT", None, *FOREVER, MINUTE_MS)
    assert [run.exchange for run in runs] == [row.exchange for row in rows]
