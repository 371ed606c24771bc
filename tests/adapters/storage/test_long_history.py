"""Half a million stored minutes: a question costs what is answered, not what is there."""

import sqlite3
from contextlib import closing

import pytest

from marketflow.adapters.storage import minute_table, postgres_questions
from marketflow.adapters.storage.sqlite import SqliteStore
from marketflow.adapters.web.headers import Head
from marketflow.adapters.web.history import HistoryApi
from marketflow.adapters.web.http1 import Request
from marketflow.application.candles import Candles
from marketflow.application.gaps import Gaps
from marketflow.application.history import History
from marketflow.application.minutes import Minutes
from marketflow.application.ports import Page
from marketflow.application.state import Market, State
from marketflow.domain.catalog import Catalog
from marketflow.domain.minute import MinuteRules
from marketflow.domain.mode import Mode
from tests.examples import MINUTE_MS, NOON_MS, minute_row
from tests.fakes import ManualClock

pytest_plugins = ("tests.server_fixtures",)
pytestmark = pytest.mark.slow

PAIRS = ("BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT")
EXCHANGES = ("exchange1", "exchange2", "exchange3")
MINUTES = 33_334
MIDDLE_MS = NOON_MS + 16_000 * MINUTE_MS
# the first minute of every series is written as always, and copied from there
COPY = """
INSERT INTO market_data
SELECT
    pair_name, exchange, {end}, average_price + n * 0.0123, min_price, max_price + n,
    open_price, close_price, {end}, {end}, {end}, {end}, tick_count, mode
FROM market_data CROSS JOIN {numbers}
"""
SQLITE = COPY.format(
    end="strftime('%Y-%m-%dT%H:%M:%fZ', timestamp, n || ' minutes')",
    numbers="(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT n FROM s "
    f"LIMIT {MINUTES - 1})",
)
POSTGRES = COPY.format(
    end="timestamp + n * interval '1 minute'",
    numbers=f"(SELECT n FROM generate_series(1, {MINUTES - 1}) AS n) AS numbers",
)


def first_minutes():
    return [minute_row(pair_name=pair, exchange=name) for pair in PAIRS for name in EXCHANGES]


@pytest.fixture(scope="module")
def sqlite_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "marketflow.db"
    with closing(SqliteStore(path)) as store:
        store.upsert(first_minutes())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(SQLITE)
        connection.commit()
    return path


def ask(store, query):
    """Answer /history as the service does; one tick of now is in memory."""
    catalog = Catalog(PAIRS, EXCHANGES)
    clock = ManualClock(wall_ms=NOON_MS + (MINUTES + 1) * MINUTE_MS)
    waiting = minute_row(timestamp_ms=NOON_MS + MINUTES * MINUTE_MS)
    minutes = Minutes(
        Market(State(Mode.LIVE, 0, catalog, 300_000)),
        clock=clock,
        store=store,
        unstored=[lambda *_: [waiting]],
        rules=MinuteRules(),
    )
    api = HistoryApi(History(minutes), Candles(minutes), Gaps(minutes))
    request = Request("GET", "/", "/", query, Head((1, 1), {"host": "localhost"}))
    return api.rows(request, "BTCUSDT").work()


QUERIES = (
    "limit=5000",
    f"limit=5000&from={MIDDLE_MS}",
    f"limit=5000&exchange=exchange2&from={MIDDLE_MS}",
)


@pytest.mark.parametrize("query", QUERIES)
def test_five_thousand_rows_of_sqlite_are_answered(sqlite_path, query):
    with closing(SqliteStore(sqlite_path)) as store:
        assert ask(store, query).body.count(b"pair_name") == 5000


@pytest.mark.parametrize("exchange", [None, "exchange2"])
@pytest.mark.parametrize("page", [Page(5000), Page(5000, newest=True), Page(5000, after="a")])
def test_sqlite_reads_a_page_by_an_index_in_its_order(sqlite_path, exchange, page):
    plans = []
    with closing(sqlite3.connect(sqlite_path)) as connection:

        class Explained:
            def execute(self, statement, values):
                plans.extend(connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))
                return iter(())

        minute_table.select(Explained(), Mode.LIVE, "BTCUSDT", exchange, MIDDLE_MS, 2**50, page)
    ((_, _, _, step),) = plans
    assert "USING INDEX" in step
    assert "timestamp>? AND timestamp<?" in step


@pytest.fixture
def postgres(database, open_store):
    store = open_store(database, connect_timeout_s=3, statement_timeout_s=10)
    store.upsert(first_minutes())
    database.sql(POSTGRES)
    database.sql("VACUUM ANALYZE market_data")
    return store


def test_five_thousand_rows_of_postgres_are_answered_by_an_index_in_their_order(postgres, database):
    for query in QUERIES:
        assert ask(postgres, query).body.count(b"pair_name") == 5000
    for exchange in (None, "exchange2"):
        pair = postgres_questions.pair_in(Mode.LIVE, "BTCUSDT", exchange, MIDDLE_MS, 2**50)
        for page in (Page(5000), Page(5000, newest=True), Page(5000, after="a")):
            statement, values = postgres_questions.rows(pair, page)
            lines = database.sql(f"EXPLAIN {statement}", values)
            plan = "\n".join(line for (line,) in lines)
            assert "Index Scan" in plan
            assert "Seq Scan" not in plan
            assert "Presorted Key" in plan


def test_a_year_of_days_costs_no_year_of_rows_in_our_memory(sqlite_path):
    with closing(SqliteStore(sqlite_path)) as store:
        day_ms = 1440 * MINUTE_MS
        first_ms = NOON_MS - NOON_MS % day_ms
        candles = store.candles(
            Mode.LIVE, "BTCUSDT", None, first_ms, first_ms + 24 * day_ms, day_ms
        )
        assert len(candles) == 3 * 24
        assert sum(candle.ticks for candle in candles) == 3 * MINUTES * minute_row().tick_count
