"""PostgreSQL in any state: rows wait, and all of them are there soon after."""

import re
from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import NamedTuple

import pytest

from tests.end_to_end.harness import until
from tests.faults.backends import POSTGRES_PASSWORD
from tests.faults.market import RECOVERS_S, Market

pytestmark = pytest.mark.slow

_NO_SPACE = """
CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100';
END $$;
CREATE TRIGGER no_space BEFORE INSERT ON market_data EXECUTE FUNCTION no_space();
"""


class Fault(NamedTuple):
    begin: Callable[[Market], None]
    end: Callable[[Market], object]
    told: str  # in /health, beside the name


def _alter_role(change: str) -> Callable[[Market], None]:
    def alter(market: Market) -> None:
        market.backends.alter_role(change)
        market.backends.end_sessions()

    return alter


def _right_password(market: Market) -> None:
    market.backends.alter_role("PASSWORD %s", (POSTGRES_PASSWORD,))


FAULTS = {
    "crashes": Fault(
        lambda market: market.backends.postgres.kill(),
        lambda market: market.backends.postgres.start(),
        "",
    ),
    "refuses connections": Fault(
        lambda market: market.backends.postgres_proxy.refuse(),
        lambda market: market.backends.postgres_proxy.heal(),
        "",
    ),
    "falls silent": Fault(
        lambda market: market.backends.postgres.pause(),
        lambda market: market.backends.postgres.resume(),
        "no answer within 3.0 s",
    ),
    "is behind a black hole": Fault(
        lambda market: market.backends.postgres_proxy.swallow(),
        lambda market: market.backends.postgres_proxy.heal(),
        "no answer within 3.0 s",
    ),
    "is read-only": Fault(
        _alter_role("SET default_transaction_read_only = on"),
        lambda market: market.backends.alter_role("RESET default_transaction_read_only"),
        "read-only",
    ),
    "has too many clients": Fault(
        _alter_role("CONNECTION LIMIT 0"),
        lambda market: market.backends.alter_role("CONNECTION LIMIT -1"),
        "too many connections",
    ),
    "has another password": Fault(
        _alter_role("PASSWORD 'another'"), _right_password, "password authentication failed"
    ),
    "has a full disk": Fault(
        lambda market: market.backends.database.sql(_NO_SPACE),
        lambda market: market.backends.database.sql("DROP FUNCTION no_space CASCADE"),
        "no space left",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_row_is_lost_or_doubled_when_postgresql(market: Market, fault: Fault):
    market.is_well()
    fault.begin(market)
    try:
        health = market.tells("postgres at", fault.told)
        assert health["postgres"]["ok"] is False
        assert health["redis"]["ok"] is True
        market.keeps_answering()
        market.a_minute_waits()
    finally:
        fault.end(market)
    market.recovers(monotonic())
    assert market.health()["storage"]["outbox_rows"] == 0


def test_a_table_that_is_locked_makes_rows_wait(market: Market):
    with closing(market.backends.database.session()) as session:
        session.cursor().execute("BEGIN; LOCK TABLE market_data IN ACCESS EXCLUSIVE MODE")
        market.tells("postgres at")
        market.keeps_answering()
        market.a_minute_waits()
        # those that we gave up must not queue for the lock for ever
        assert market.backends.sessions() < 10
    market.recovers(monotonic())


def test_history_is_refused_rather_than_shortened(market: Market):
    market.backends.postgres_proxy.refuse()
    answer = market.service.ask("/prices/average/BTCUSDT?period=10m")
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    market.said.append(answer.body.decode())
    market.backends.postgres_proxy.heal()
    until(
        lambda: market.service.ask("/prices/average/BTCUSDT?period=10m").status == 200,
        RECOVERS_S,
        "history",
    )
    market.recovers()


@pytest.mark.parametrize("delivered", [False, True], ids=["before", "after"])
def test_a_connection_cut_at_commit_is_made_anew(market: Market, delivered: bool):
    struck = market.backends.postgres_proxy.when_seen(b"DOGEUSDT", delivered=delivered)
    assert struck.wait(5), "rows on their way"
    market.recovers(monotonic())


@pytest.mark.parametrize("delivered", [False, True], ids=["before", "after"])
def test_silence_at_commit_ends_in_one_row(market: Market, delivered: bool):
    proxy = market.backends.postgres_proxy
    struck = proxy.when_seen(b"DOGEUSDT", then="swallow", delivered=delivered)
    assert struck.wait(5), "rows on their way"
    market.tells("no answer within 3.0 s")
    proxy.heal()
    market.recovers(monotonic())


def test_a_table_that_was_taken_away_is_created_again(market: Market):
    sql = market.backends.database.sql
    sql("CREATE SCHEMA aside")
    sql("ALTER TABLE market_data SET SCHEMA aside")
    until(market.rows, 10, "rows in a new table")
    market.recovers(rows=lambda: market.rows() + market.backends.rows("aside."))
    assert sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'market_data'") == [(4,)]
    sql("INSERT INTO market_data SELECT * FROM aside.market_data")
    sql("DROP SCHEMA aside CASCADE")
    market.recovers()


def test_a_table_of_an_older_shape_is_left_alone_and_the_statement_told(market: Market):
    sql = market.backends.database.sql
    sql("ALTER TABLE market_data DROP COLUMN mode")
    health = market.tells("older shape")
    market.keeps_answering()
    market.a_minute_waits()
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'market_data'"
    assert sql(columns) == [(13,)]
    (told,) = (text for text in health["problems"] if "older shape" in text)
    for statement in re.findall("ALTER TABLE [^;]+;", told):
        sql(statement)
    market.recovers(monotonic())
