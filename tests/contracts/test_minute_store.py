"""What every store of minute rows promises."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.fakes import MemoryMinuteStore

FOREVER = (0, 2**62)


def open_store(kind, directory):
    return MemoryMinuteStore() if kind == "memory" else SqliteStore(directory / "marketflow.db")


@pytest.fixture(params=["memory", "sqlite"], scope="module")
def kind(request):
    return request.param


@pytest.fixture
def store(kind, tmp_path):
    store = open_store(kind, tmp_path)
    yield store
    store.close()


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


@given(times=st.lists(st.integers(1, 4_102_444_800_000), min_size=5, max_size=5))
def test_times_come_back_to_the_millisecond(kind, tmp_path_factory, times):
    end, opened, closed, low, high = times
    row = minute_row(
        timestamp_ms=end, open_at_ms=opened, close_at_ms=closed, min_at_ms=low, max_at_ms=high
    )
    store = open_store(kind, tmp_path_factory.mktemp("store"))
    try:
        store.upsert([row])
        assert store.rows(Mode.LIVE, "BTCUSDT", None, end, end + 1) == [row]
    finally:
        store.close()


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


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=8), data=st.data())
def test_in_whatever_order_versions_arrive_the_best_informed_stays(
    kind, tmp_path_factory, counts, data
):
    versions = [minute_row(tick_count=n, average_price=100_000.0 + n) for n in counts]
    arrivals = data.draw(st.permutations([*versions, *versions[:2]]))
    cut = data.draw(st.integers(0, len(arrivals)))
    store = open_store(kind, tmp_path_factory.mktemp("store"))
    try:
        store.upsert(arrivals[:cut])
        store.upsert(arrivals[cut:])
        assert all_of(store) == [max(versions, key=lambda row: row.tick_count)]
    finally:
        store.close()


def test_of_equally_informed_versions_the_later_stays(store):
    store.upsert([minute_row(average_price=99_999.0)])
    store.upsert([minute_row(average_price=99_999.5)])
    assert all_of(store) == [minute_row(average_price=99_999.5)]
