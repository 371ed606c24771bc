"""Redis in any state: answers and rows go on, and what it missed it gets, once."""

from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

import pytest

from tests.faults.backends import REDIS_PASSWORD
from tests.faults.market import Market
from tests.servers import free_port

pytestmark = pytest.mark.slow


class Fault(NamedTuple):
    begin: Callable[[Market], None]
    end: Callable[[Market], None]
    told: str  # in /health, beside the name


def _configure(market: Market, **settings: str) -> None:
    with market.backends.client() as client:
        for name, value in settings.items():
            client.config_set(name, value)


def _fill_up(market: Market) -> None:
    _configure(market, maxmemory="1")


def _make_room(market: Market) -> None:
    _configure(market, maxmemory="0")


def _follow_nobody(market: Market) -> None:
    with market.backends.client() as client:
        client.replicaof("127.0.0.1", free_port())


def _lead_again(market: Market) -> None:
    with market.backends.client() as client:
        client.replicaof("NO", "ONE")


def _change_password(market: Market) -> None:
    with market.backends.client() as client:
        client.config_set("requirepass", "another")
        market.backends.redis_proxy.cut()


def _change_back(market: Market) -> None:
    market.backends.redis.password = REDIS_PASSWORD
    with market.backends.client() as client:
        client.connection_pool.connection_kwargs["password"] = "another"
        client.config_set("requirepass", REDIS_PASSWORD)


FAULTS = {
    "dies and comes back empty": Fault(
        lambda market: market.backends.redis.kill(),
        lambda market: market.backends.redis.start(),
        "",
    ),
    "refuses connections": Fault(
        lambda market: market.backends.redis_proxy.refuse(),
        lambda market: market.backends.redis_proxy.heal(),
        "",
    ),
    "hangs": Fault(
        lambda market: market.backends.redis.pause(),
        lambda market: market.backends.redis.resume(),
        "no answer within 0.5 s",
    ),
    "is slow": Fault(
        lambda market: market.backends.redis_proxy.delay(0.7),
        lambda market: market.backends.redis_proxy.heal(),
        "no answer within 0.5 s",
    ),
    "is out of memory": Fault(_fill_up, _make_room, "maxmemory"),
    "is a read-only replica": Fault(_follow_nobody, _lead_again, "read only replica"),
    "has another password": Fault(_change_password, _change_back, "password"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_redis_costs_no_answer_no_row_and_no_tick_when_it(market: Market, fault: Fault):
    market.is_well()
    fault.begin(market)
    try:
        health = market.tells("redis at", fault.told)
        assert health["redis"]["ok"] is False
        assert health["postgres"]["ok"] is True
        market.keeps_answering()
        market.a_minute_is_stored()
    finally:
        fault.end(market)
    market.recovers(monotonic())
    assert market.health()["redis"]["dropped_ticks"] == 0


def test_a_connection_that_is_cut_is_nothing_to_tell(market: Market):
    market.backends.redis_proxy.cut()
    market.a_minute_is_stored()
    market.recovers()
