"""What every store of minute rows promises."""

import math
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketflow.adapters.storage.postgres import PostgresStore
from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.application.ports import Page
from marketflow.domain.candle import align, candle_of, merged
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


NAMES = ("Zeta", "alpha", "b-1", "b.1")  # in the order of their bytes, in that of no language
ENDS_MS = [NOON_MS + n * MINUTE_MS for n in range(6)]


@pytest.fixture
def filled_store(store):
    """Every exchange's minute at every end, and what belongs to others."""
    rows = [minute_row(timestamp_ms=end, exchange=name) for end in ENDS_MS for name in NAMES]
    others = [
        minute_row(timestamp_ms=ENDS_MS[0], **of)
        for of in ({"pair_name": "ETHUSDT"}, {"mode": Mode.TEST})
    ]
    store.upsert(Random(2).sample(rows + others, len(rows) + 2))
    return store, rows


def test_a_page_holds_the_first_rows_or_the_last_ones_always_ascending(filled_store):
    store, rows = filled_store
    span = (ENDS_MS[1], ENDS_MS[5])
    inside = rows[4:20]
    for limit in (1, 5, 16, 17):
        pages = Page(limit), Page(limit, newest=True)
        first, last = (store.rows(Mode.LIVE, "BTCUSDT", None, *span, page) for page in pages)
        assert (first, last) == (inside[:limit], inside[-limit:])
    newest = store.rows(Mode.LIVE, "BTCUSDT", "b-1", *FOREVER, Page(2, newest=True))
    assert newest == rows[18::4]


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_page_after_page_every_row_comes_once(filled_store, size):
    store, rows = filled_store
    found, after, from_ms = [], None, 0
    while page := store.rows(Mode.LIVE, "BTCUSDT", None, from_ms, 2**62, Page(size, after=after)):
        found += page
        from_ms, after = page[-1].timestamp_ms, page[-1].exchange
    assert found == rows


@st.composite
def minutes(draw):
    """Return rows of two exchanges, with gaps, whose ends and prices differ."""
    rows = []
    for name in ("exchange1", "exchange2"):
        for n in draw(st.sets(st.integers(1, 40), max_size=25)):
            end = NOON_MS + n * MINUTE_MS
            prices = draw(st.lists(st.floats(1.0, 2.0), min_size=5, max_size=5).map(sorted))
            low, opened, average, closed, high = prices
            if draw(st.booleans()):
                opened, closed = closed, opened
            rows.append(
                minute_row(
                    exchange=name,
                    timestamp_ms=end,
                    open_at_ms=end - draw(st.integers(30_000, 60_000)),
                    close_at_ms=end - draw(st.integers(1, 29_999)),
                    min_price=low,
                    max_price=high,
                    average_price=average,
                    open_price=opened,
                    close_price=closed,
                    tick_count=draw(st.integers(1, 1000)),
                )
            )
    return rows


@UNHURRIED
@given(rows=minutes(), interval=st.sampled_from([1, 5, 15, 60]), data=st.data())
def test_candles_are_those_that_the_rows_make(empty_store, rows, interval, data):
    interval_ms = interval * MINUTE_MS
    start = align(NOON_MS, interval_ms) + interval_ms * data.draw(st.integers(0, 3))
    end = start + interval_ms * data.draw(st.integers(0, 40 // interval + 1))
    name = data.draw(st.sampled_from([None, "exchange2"]))
    inside = [
        candle_of(row, interval_ms)
        for row in rows
        if start < row.timestamp_ms <= end and name in (None, row.exchange)
    ]
    with empty_store() as store:
        store.upsert(rows)
        found = store.candles(Mode.LIVE, "BTCUSDT", name, start, end, interval_ms)
    assert merged(found) == merged(inside)
    assert {type(value) for candle in found for value in candle} <= {int, float, str}


@UNHURRIED
@given(rows=minutes(), data=st.data())
def test_runs_are_the_minutes_without_a_gap_between(empty_store, rows, data):
    first, last = sorted(data.draw(st.tuples(st.integers(0, 42), st.integers(0, 42))))
    name = data.draw(st.sampled_from([None, "exchange2"]))
    span = NOON_MS + first * MINUTE_MS, NOON_MS + last * MINUTE_MS
    odd = minute_row(timestamp_ms=NOON_MS + 20 * MINUTE_MS + 2_000)  # of another interval's times
    with empty_store() as store:
        store.upsert([*rows, odd])
        runs = store.runs(Mode.LIVE, "BTCUSDT", name, *span, MINUTE_MS)
    covered = [
        (run.exchange, end)
        for run in runs
        for end in range(run.first_end_ms, run.last_end_ms + 1, MINUTE_MS)
    ]
    inside = [row for row in rows if span[0] <= row.timestamp_ms < span[1]]
    kept = {(row.exchange, row.timestamp_ms) for row in inside if name in (None, row.exchange)}
    assert sorted(covered) == sorted(kept)
    for one, other in pairwise(runs):
        assert one.exchange < other.exchange or one.last_end_ms + MINUTE_MS < other.first_end_ms
