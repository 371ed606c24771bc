"""Processes that die, start among the dead, or are two; and outages that last."""

import subprocess
from collections.abc import Callable
from random import Random
from threading import Event
from time import monotonic

import pytest

from tests.end_to_end.feeder import now_ms
from tests.end_to_end.harness import Service, until
from tests.end_to_end.ledger import INTERVAL_MS, SYMBOLS, by_minute, check_rows
from tests.faults.backends import SECRETS
from tests.faults.exchanges import Exchanges
from tests.faults.invariants import check_silence
from tests.faults.market import Market
from tests.servers import SCHEMA

pytestmark = pytest.mark.slow

NewMarket = Callable[..., Market]
BOTH = ("exchange1", "exchange2")


def test_it_starts_without_postgresql_and_redis(new_market: NewMarket):
    market = new_market()
    market.backends.postgres.stop()
    market.backends.redis.stop()
    market.add_service().start()
    market.exchanges.wait_until_heard()
    market.tells("postgres at")
    market.tells("redis at")
    market.keeps_answering()
    market.a_minute_waits()
    market.backends.redis.start()
    market.backends.postgres.start()
    market.recovers(monotonic())


def test_kill_9_while_postgresql_is_away_costs_no_row(new_market: NewMarket):
    market = new_market()
    market.run()
    market.backends.postgres.kill()
    market.a_minute_waits()
    for _ in range(2):
        market.restart(Service.kill)
        market.tells("postgres at")
        market.keeps_answering()
    market.backends.postgres.start()
    market.recovers(monotonic())


def test_a_stop_while_both_hang_is_in_time_and_costs_no_row(new_market: NewMarket):
    market = new_market()
    market.run()
    market.stop(_stop_while_both_hang(market))
    market.backends.redis.resume()
    market.backends.postgres_proxy.heal()
    market.service.start()
    market.exchanges.wait_until_heard()
    market.recovers(monotonic())


def _stop_while_both_hang(market: Market) -> Callable[[Service], None]:
    def stop(service: Service) -> None:
        market.backends.redis.pause()
        market.backends.postgres_proxy.swallow()
        service.terminate()

    return stop


def give_history(market: Market, span_ms: int, step_ms: int) -> None:
    """Let the exchanges begin with ticks of the past."""
    for feeder in market.exchanges.lines[0]:
        moments = range(now_ms() - span_ms, now_ms(), step_ms)
        feeder.backlog = [tick for at in moments for tick in feeder.burst(at)]


def test_a_stop_does_not_wait_for_a_long_backlog(new_market: NewMarket):
    market = new_market(interval_ms=100)
    give_history(market, 80_000, 100)
    market.backends.database.sql(f"SET ROLE {market.backends.name}; {SCHEMA}")
    service = market.add_service(aggregation={"late_intervals": 1_000})
    market.backends.postgres_proxy.refuse()
    service.start()
    until(lambda: market.health()["storage"]["outbox_rows"] > 7_500, 10, "rows that wait")
    market.backends.postgres_proxy.heal()
    market.backends.postgres_proxy.delay(0.2)
    until(lambda: service.total("rows_stored_total"), 10, "rows that move")
    market.is_well()
    assert market.health()["storage"]["outbox_rows"] > 5_000
    market.stop()
    market.backends.postgres_proxy.heal()
    service.start()
    market.exchanges.wait_until_heard()
    market.recovers(monotonic())


def test_a_storm_costs_no_row_and_no_tick(new_market: NewMarket):
    market = new_market()
    market.run()
    proxies = [market.backends.postgres_proxy, market.backends.redis_proxy]
    pause, weather = Event(), Random(7)
    for _ in range(15):
        proxy = weather.choice(proxies)
        weather.choice([proxy.cut, proxy.refuse, proxy.swallow, proxy.heal])()
        pause.wait(weather.uniform(0.05, 0.5))
    market.keeps_answering()
    for proxy in proxies:
        proxy.heal()
    market.recovers(monotonic())


def test_thirty_intervals_without_postgresql(new_market: NewMarket):
    market = new_market(interval_ms=250)
    service = market.run()
    market.backends.postgres.kill()
    market.a_minute_waits()
    memory, threads, lines = service.rss_mb(), service.tasks(), len(service.log)
    wanted = 30 * len(SYMBOLS) * len(BOTH)
    until(lambda: market.health()["storage"]["outbox_rows"] >= wanted, 20, f"{wanted} rows")
    assert market.health()["storage"]["outbox_rows"] < wanted * 1.2
    assert service.rss_mb() < memory + 20
    assert service.tasks() <= threads + 1
    assert len(service.log) <= lines + 2  # the outage was told when it began
    assert sum(path.stat().st_size for path in service.data_dir.glob("outbox.db*")) < 8_000_000
    market.backends.postgres.start()
    market.recovers(monotonic())
    assert market.health()["storage"]["rows_dropped"] == 0


def test_a_refused_row_is_parked_and_shown_and_the_others_go_on(new_market: NewMarket):
    market = new_market()
    service = market.run()
    sql = market.backends.database.sql
    sql(
        "ALTER TABLE market_data ADD CONSTRAINT no_dogs"
        " CHECK (exchange <> 'exchange2' OR pair_name <> 'DOGEUSDT') NOT VALID"
    )
    refused = len([row for row in market.rows() if row.series[:2] == ("exchange2", "DOGEUSDT")])
    health = market.tells("rows are parked", "no_dogs")
    assert health["storage"]["parked_rows"] >= 1
    assert health["postgres"]["ok"] is True
    market.a_minute_is_stored()
    assert service.total("parked_rows") >= 1
    found = [row for row in market.rows() if row.series[:2] == ("exchange2", "DOGEUSDT")]
    assert len(found) == refused
    answer = service.json("/prices/average/exchange2/DOGEUSDT?period=10m")
    sent = [tick for tick in market.exchanges.lines[0][1].ledger if tick.symbol == "DOGEUSDT"]
    assert len(sent) - 50 < answer["count"] <= len(sent) + 50  # the parked ones are in it
    sql("ALTER TABLE market_data DROP CONSTRAINT no_dogs")
    market.restart()
    market.recovers(monotonic())
    assert market.health()["storage"]["parked_rows"] == 0


def test_two_instances_on_one_database_store_each_row_once(new_market: NewMarket):
    market = new_market(exchanges=Exchanges(*BOTH, lines=2))
    survivor = market.run()
    # a Redis mirrors one instance
    other = market.add_service(line=1, redis={"db": 1}).start()
    market.exchanges.wait_until_heard(line=1)
    third = market.add_service(line=1)
    third.data_dir = survivor.data_dir
    assert_refused(third)
    market.a_minute_is_stored()
    other.kill()
    market.exchanges.hang_up(line=1)
    market.a_minute_is_stored()
    other.start()
    market.exchanges.wait_until_heard(line=1)
    market.a_minute_is_stored()
    market.recovers()
    assert len(market.exchanges.ledger(1)) < len(market.exchanges.ledger(0))
    other.terminate()


def assert_refused(second: Service) -> None:
    """A second instance on one data directory ends with a sentence that names it."""
    done = subprocess.run(second.command(), capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert str(second.data_dir) in done.stderr
    assert done.stderr.count("\n") == 1
    check_silence([done.stdout, done.stderr], SECRETS)


@pytest.mark.parametrize("bound", [("MAX_AGE", "1m"), ("MAX_BYTES", "65536")])
def test_an_outbox_over_its_bound_drops_the_oldest_and_tells(
    new_market: NewMarket, monkeypatch: pytest.MonkeyPatch, bound: tuple[str, str]
):
    market = new_market()
    give_history(market, 120_000, 1_000)
    service = market.add_service(aggregation={"late_intervals": 70}, journal={"enabled": False})
    market.backends.postgres_proxy.refuse()
    service.start()
    market.tells("postgres at")
    until(lambda: market.health()["storage"]["outbox_rows"] > 500, 10, "rows that wait")
    market.stop()
    ended_ms = now_ms()
    until(lambda: now_ms() // INTERVAL_MS > ended_ms // INTERVAL_MS, 3, "another minute")
    monkeypatch.setenv(f"MARKETFLOW_OUTBOX_{bound[0]}", bound[1])
    service.start()
    dropped = market.tells("rows dropped")["storage"]["rows_dropped"]
    assert service.total("rows_dropped_total") == dropped > 100
    assert any("level=ERROR" in line and "rows dropped" in line for line in service.log)
    market.keeps_answering()
    market.backends.postgres_proxy.heal()
    market.a_minute_is_stored()
    market.stop()
    rows = market.rows()
    minutes = by_minute(market.exchanges.ledger())
    kept = sorted(minutes, key=lambda series: (series[2], *series[:2]))[dropped:]
    check_rows(rows, [tick for series in kept for tick in minutes[series]])


def test_no_password_is_told_anywhere(new_market: NewMarket):
    market = new_market()
    service = market.add_service(log={"level": "debug"})
    market.backends.alter_role("PASSWORD 'another'")
    with market.backends.client() as client:
        client.config_set("requirepass", "another")
    service.start()
    market.tells("postgres at", "password")
    market.tells("redis at", "password")
    for path in ("/metrics", "/health", "/prices/average/BTCUSDT?period=10m", "/nothing"):
        answer = service.ask(path)
        market.said.append(f"{answer.headers} {answer.body.decode()}")
    market.check_silence()
    service.terminate()
    check_silence([*market.said, *service.log], SECRETS)
    assert len(market.said) > 4
    assert len(service.log) > 4
    command = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True, check=True)
    check_silence([command.stdout], SECRETS)
