"""What every store of minute rows promises."""

import math
from contextlib import ExitStack, closing, contextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.adapters.storage.postgres import PostgresStore
from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.fakes import MemoryMinuteStore
from tests.servers import SCHEMA

pytest_plugins = ("tests.server_fixtures",)

FOREVER = (0, 2**62)
UNHURRIED = settings(deadline=None)  # a server answers when it does


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)], scope="module"
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def empty_store(kind, request, tmp_path_factory):
    """Lend a store without rows, as often as wanted."""
    with ExitStack() as stack:
        if kind == "memory":
            opener = _memory
        elif kind == "sqlite":
            opener = _sqlite(tmp_path_factory)
        else:
            server = request.getfixturevalue("postgres_server")
            opener = _postgres(stack.enter_context(server.new_database()), stack)
        yield contextmanager(opener)


def _memory():
    yield MemoryMinuteStore()


def _sqlite(tmp_path_factory):
    def opener():
        with closing(SqliteStore(tmp_path_factory.mktemp("store") / "marketflow.db")) as store:
            yield store

    return opener


def _postgres(database, stack):
    store = PostgresStore(
        **database.address(),
        sslmode="prefer",
        connect_timeout_s=5,
        statement_timeout_s=5,
        pool_size=4,
        schema=SCHEMA,
    )
    stack.enter_context(closing(store))
    administrator = stack.enter_context(closing(database.session()))

    def opener():
        store.ping()
        administrator.cursor().execute("TRUNCATE market_data")
        yield store

    return opener


@pytest.fixture
def store(empty_store):
    with empty_store() as store:
        yield store


def all_of(store, symbol="BTCUSDT", mode=Mode.LIVE):
    return store.rows(mode, symbol, None, *FOREVER)


def test_a_store_names_its_backend(store, kind):
    assert store.backend == kind


def test_a_new_store_can_be_written_and_is_empty(store):
    store.ping()
    assert all_of(store) == []


def test_rows_come_back_to_the_bit(store):
    row = minute_row(
        average_price=0.1 + 0.2, min_price=5e-324, max_price=1.7976931348623157e308, open_price=1.1
    )
    store.upsert([row])
    assert all_of(store) == [row]


@UNHURRIED
@given(times=st.lists(st.integers(1, 4_102_444_800_000), min_size=5, max_size=5))
def test_times_come_back_to_the_millisecond(empty_store, times):
    end, opened, closed, low, high = times
    row = minute_row(
        timestamp_ms=end, open_at_ms=opened, close_at_ms=closed, min_at_ms=low, max_at_ms=high
    )
    with empty_store() as store:
        store.upsert([row])
        assert store.rows(Mode.LIVE, "BTCUSDT", None, end, end + 1) == [row]


def test_rows_are_sorted_by_time_then_exchange(store):
    rows = [
        minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS, exchange=name)
        for n in range(3)
        for name in ("exchange1", "exchange2", "exchange3")
    ]
    store.upsert(Random(1).sample(rows, len(rows)))
    assert all_of(store) == rows
    assert store.rows(Mode.LIVE, "BTCUSDT", "exchange2", *FOREVER) == rows[1::3]


def test_from_is_inclusive_and_to_is_exclusive(store):
    rows = [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(4)]
    store.upsert(rows)
    found = store.rows(Mode.LIVE, "BTCUSDT", None, NOON_MS + MINUTE_MS, NOON_MS + 3 * MINUTE_MS)
    assert found == rows[1:3]


def test_modes_and_pairs_never_mix(store):
    rows = [minute_row(), minute_row(mode=Mode.TEST), minute_row(pair_name="ETHUSDT")]
    store.upsert(rows)
    assert all_of(store) == rows[:1]
    assert all_of(store, mode=Mode.TEST) == rows[1:2]
    assert all_of(store, "ETHUSDT") == rows[2:]


@UNHURRIED
@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=8), data=st.data())
def test_in_whatever_order_versions_arrive_the_best_informed_stays(empty_store, counts, data):
    versions = [minute_row(tick_count=n, average_price=100_000.0 + n) for n in counts]
    arrivals = data.draw(st.permutations([*versions, *versions[:2]]))
    cut = data.draw(st.integers(0, len(arrivals)))
    with empty_store() as store:
        store.upsert(arrivals[:cut])
        store.upsert(arrivals[cut:])
        assert all_of(store) == [max(versions, key=lambda row: row.tick_count)]


def test_of_equally_informed_versions_the_later_stays(store):
    store.upsert([minute_row(average_price=99_999.0)])
    store.upsert([minute_row(average_price=99_999.5)])
    assert all_of(store) == [minute_row(average_price=99_999.5)]


def test_of_equally_informed_versions_in_one_call_the_later_stays(store):
    store.upsert([minute_row(average_price=price) for price in (99_999.0, 99_999.25, 99_999.5)])
    assert all_of(store) == [minute_row(average_price=99_999.5)]


def test_good_rows_are_all_taken(store):
    assert store.upsert([minute_row(exchange=name) for name in ("exchange1", "exchange2")]) == []
    assert store.upsert([]) == []


@pytest.mark.parametrize(
    "nonsense",
    [
        {"min_price": 0.0},
        {"min_price": -1.0},
        {"average_price": 98_000.0},
        {"average_price": 102_000.0},
        {"average_price": math.nan},
        {"max_price": math.inf},
        {"open_price": 1.0},
        {"close_price": 200_000.0},
        {"tick_count": 0},
        {"tick_count": 2**63},
    ],
)
def test_a_nonsensical_row_is_refused_and_the_others_are_stored(store, nonsense):
    rows = [minute_row(timestamp_ms=NOON_MS + n * MINUTE_MS) for n in range(5)]
    wrong = minute_row(exchange="exchange2", **nonsense)
    ((refused, reason),) = store.upsert([*rows[:2], wrong, *rows[2:]])
    assert refused is wrong
    assert reason
    assert "\n" not in reason
    assert all_of(store) == rows


def test_a_refused_version_leaves_the_one_that_was_there(store):
    store.upsert([minute_row(tick_count=5)])
    refused = store.upsert([minute_row(tick_count=9, open_price=1.0), minute_row(tick_count=6)])
    assert [row.tick_count for row, _ in refused] == [9]
    assert all_of(store) == [minute_row(tick_count=6)]
