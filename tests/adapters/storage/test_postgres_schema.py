import re
import threading

import pytest

from marketflow.adapters.storage.postgres_schema import COLUMNS, KEY
from marketflow.domain.errors import StorageUnavailable
from marketflow.domain.mode import Mode
from tests.examples import NOON_MS, minute_row
from tests.servers import SCHEMA

pytest_plugins = ("tests.server_fixtures",)
pytestmark = pytest.mark.slow

THE_BRIEFS = """
CREATE TABLE market_data (
    pair_name varchar(20), exchange text NOT NULL, timestamp timestamp, average_price numeric,
    min_price double precision, max_price double precision
)
"""


@pytest.fixture
def store(database, open_store):
    return open_store(database, connect_timeout_s=3, statement_timeout_s=3)


def all_of(store):
    return store.rows(Mode.LIVE, "BTCUSDT", None, 0, 2**62)


def demanded(store):
    """Return the statements that the refusal asks for."""
    with pytest.raises(StorageUnavailable, match="has an older shape") as refusal:
        store.ping()
    sentence = str(refusal.value)
    found = re.fullmatch(
        r"postgres at \S+: table market_data has an older shape, run: (ALTER TABLE .*;)", sentence
    )
    assert found, sentence
    assert "\n" not in sentence
    return found[1]


def test_the_table_is_created_by_the_first_ping(store, database):
    assert database.sql("SELECT to_regclass('market_data') IS NULL") == [(True,)]
    store.ping()
    assert database.sql("SELECT count(*) FROM market_data") == [(0,)]
    store.ping()


def test_the_first_upsert_and_the_first_question_create_it_too(store, database):
    assert all_of(store) == []
    database.sql("DROP TABLE market_data")
    with pytest.raises(StorageUnavailable, match='relation "market_data" does not exist'):
        store.upsert([minute_row()])
    store.upsert([minute_row()])
    assert all_of(store) == [minute_row()]


def test_a_table_dropped_while_running_is_created_by_the_next_ping(store, database):
    store.upsert([minute_row()])
    database.sql("DROP TABLE market_data")
    store.ping()
    assert all_of(store) == []


def test_the_schema_file_may_be_run_twice_and_has_the_shape_we_check(store, database):
    database.sql(SCHEMA)
    database.sql(SCHEMA)
    store.ping()
    key = database.sql(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'market_data_pkey'"
    )
    assert key == [('PRIMARY KEY (mode, exchange, pair_name, "timestamp")',)]


def test_instances_that_start_at_once_all_find_the_table(database, open_store):
    stores = [open_store(database, connect_timeout_s=5, statement_timeout_s=5) for _ in range(8)]
    together = threading.Barrier(len(stores))
    failures = []

    def start(store):
        together.wait()
        try:
            store.ping()
        except StorageUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_refused_with_the_statement_that_adds_it(store, database, column):
    store.ping()
    database.sql(f'ALTER TABLE market_data DROP COLUMN "{column}" CASCADE')
    statements = demanded(store)
    assert f"ADD COLUMN {column}" in statements.replace('"', "")
    assert ("ADD PRIMARY KEY" in statements) == (column in KEY)
    database.sql(statements)
    assert store.upsert([minute_row()]) == []
    assert all_of(store) == [minute_row()]


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("pair_name", "character varying(20)"),
        ("average_price", "numeric"),
        ("open_price", "real"),
        ("tick_count", "integer"),
        ("timestamp", "timestamp without time zone"),
        ("max_at", "timestamp without time zone"),
    ],
)
def test_a_wrong_type_is_refused_with_the_statement_that_converts_it(
    store, database, column, found
):
    row = minute_row(open_price=99_500.0)
    store.upsert([row])
    how = f"\"{column}\" AT TIME ZONE 'UTC'" if "time" in found else f'"{column}"::{found}'
    database.sql(f'ALTER TABLE market_data ALTER COLUMN "{column}" TYPE {found} USING {how}')
    database.sql(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Tokyo'")
    database.sql(demanded(store))
    store.ping()
    assert all_of(store) == [row]


def test_a_missing_key_is_refused_with_the_statement_that_adds_it(store, database):
    store.upsert([minute_row()])
    database.sql("ALTER TABLE market_data DROP CONSTRAINT market_data_pkey")
    statements = demanded(store)
    assert statements == (
        'ALTER TABLE market_data ADD PRIMARY KEY (mode, exchange, pair_name, "timestamp");'
    )
    database.sql(statements)
    store.ping()


def test_another_key_is_refused_with_the_statements_that_replace_it(store, database):
    store.upsert([minute_row()])
    database.sql(
        "ALTER TABLE market_data DROP CONSTRAINT market_data_pkey, "
        'ADD COLUMN "Id" bigint, ADD CONSTRAINT "Old Key" PRIMARY KEY (exchange, "timestamp")'
    )
    statements = demanded(store)
    assert 'DROP CONSTRAINT "Old Key", ADD PRIMARY KEY' in statements
    database.sql(statements)
    store.ping()


def test_a_foreign_column_is_welcome_unless_it_demands_a_value(store, database):
    database.sql(SCHEMA)
    database.sql("ALTER TABLE market_data ADD COLUMN id serial, ADD COLUMN volume real NOT NULL")
    statements = demanded(store)
    assert statements == "ALTER TABLE market_data ALTER COLUMN volume DROP NOT NULL;"
    database.sql(statements)
    store.upsert([minute_row()])
    assert all_of(store) == [minute_row()]


def test_the_table_of_the_brief_becomes_ours_without_losing_a_row(store, database):
    database.sql(THE_BRIEFS)
    database.sql(
        "INSERT INTO market_data VALUES ('BTCUSDT', 'exchange1', '2025-05-05 12:00', 3, 2, 4)"
    )
    statements = demanded(store)
    assert len(database.sql("SELECT * FROM market_data")[0]) == 6, "nothing was migrated"
    for statement in statements.split("; "):
        database.sql(statement)
    store.ping()
    assert all_of(store) == [
        minute_row(
            average_price=3.0,
            min_price=2.0,
            max_price=4.0,
            open_price=3.0,
            close_price=3.0,
            open_at_ms=NOON_MS,
            close_at_ms=NOON_MS,
            min_at_ms=NOON_MS,
            max_at_ms=NOON_MS,
            tick_count=1,
        )
    ]
    store.upsert([minute_row()])
    assert all_of(store) == [minute_row()]


def test_nothing_is_read_from_or_written_to_an_older_shape(store, database):
    database.sql(THE_BRIEFS)
    for use in (lambda: all_of(store), lambda: store.upsert([minute_row()]), store.ping):
        with pytest.raises(StorageUnavailable, match="has an older shape, run: ALTER TABLE"):
            use()


def test_who_may_not_create_the_table_is_told_so(store, database, open_store):
    database.sql("DROP ROLE IF EXISTS guest")
    database.sql("CREATE ROLE guest LOGIN")
    guest = open_store(database, user="guest")
    with pytest.raises(StorageUnavailable, match=r": permission denied for schema public$"):
        guest.ping()
    store.ping()
    with pytest.raises(StorageUnavailable, match=r": permission denied for table market_data$"):
        guest.ping()
    database.sql("GRANT SELECT, INSERT, UPDATE ON market_data TO guest")
    guest.upsert([minute_row()])
    assert all_of(guest) == [minute_row()]
    database.sql("DROP OWNED BY guest")
    database.sql("DROP ROLE guest")
