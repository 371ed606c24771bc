"""What /health is told of the asset prices."""

import json

import pytest

from marketflow.domain.errors import QuoteFailed
from marketflow.domain.mode import Mode
from tests.application.assets.rig import Rig, price_of, says
from tests.application.assets.test_sharing import SharedRig

REFUSED = says(QuoteFailed("connection refused"))


@pytest.fixture
def rig():
    return Rig()


def fail(rig, times=5):
    for _ in range(times):
        rig.refresh().exception(timeout=0)


def test_all_is_well(rig):
    rig.refreshed()
    section = rig.report.section()
    assert rig.report.problems() == []
    assert section["status"] == "ok"
    assert (section["known"], section["cached"]) == (7, 1)
    assert section["exchanges"]["exchange1"] == {
        "breaker": "closed",
        "answered": True,
        "error": None,
        "since_ms": None,
    }
    assert section["shared"] == {"configured": False}
    assert section["history"]["backend"] == "memory"
    json.dumps(section, allow_nan=False)


def test_an_exchange_that_fell_silent_is_a_problem_until_it_answers(rig):
    rig.refreshed()
    rig.answer(REFUSED, rig.quotes(2), rig.quotes(3))
    fail(rig)
    since_ms = rig.clock.now().wall_ms
    problem = "exchange1: gives no quotes, connection refused"
    assert rig.report.problems() == [problem]
    rig.clock.advance(10_000)
    section = rig.report.section()
    assert section["status"] == "degraded"
    assert section["exchanges"]["exchange1"] == {
        "breaker": "open",
        "answered": True,
        "error": "connection refused",
        "since_ms": since_ms,
    }
    rig.answer(None, rig.quotes(2), rig.quotes(3))
    rig.clock.advance(20_000)
    rig.refresh()
    assert rig.report.section()["exchanges"]["exchange1"]["breaker"] == "half-open"
    assert rig.report.problems() == [problem]
    rig.live[0].tell_all(rig.quotes(1))
    rig.answer(rig.quotes(1), rig.quotes(2), rig.quotes(3))
    rig.refreshed()
    assert (rig.report.problems(), rig.report.section()["status"]) == ([], "ok")


def test_exchanges_that_were_never_there_are_no_problem(rig):
    rig.answer(REFUSED, REFUSED, REFUSED)
    fail(rig)
    assert (rig.report.problems(), rig.report.section()["status"]) == ([], "waiting")
    assert rig.report.section()["exchanges"]["exchange2"]["error"] == "connection refused"


def test_one_that_was_never_there_is_a_problem_if_another_one_was(rig):
    rig.answer(REFUSED, rig.quotes(2), REFUSED)
    fail(rig)
    assert len(rig.report.problems()) == 2


def test_the_other_modes_exchanges_are_not_told_of(rig):
    rig.refreshed()
    rig.answer(REFUSED, rig.quotes(2), rig.quotes(3))
    fail(rig)
    rig.mode = Mode.TEST
    assert (rig.report.problems(), rig.report.section()["status"]) == ([], "waiting")


def test_a_history_that_is_away_is_a_problem_and_drops_for_a_while(rig):
    rig.history.down = "connection refused"
    historian = rig.assets.historian
    historian._capacity = 3
    for _ in range(5):
        historian.offer(Mode.LIVE, price_of(rig.clock))
        rig.clock.advance(1_000)
    historian._turn()
    assert rig.report.problems() == [
        "connection refused",
        "asset history: 2 prices were dropped",
    ]
    history = rig.report.section()["history"]
    assert (history["ok"], history["waiting"], history["dropped"]) == (False, 3, 2)
    rig.history.down = None
    rig.clock.advance(5_000)
    historian._turn()
    assert rig.report.problems() == []


def test_a_shared_cache_that_is_away_is_a_problem():
    rig = SharedRig()
    rig.fall()
    assert rig.report.problems() == ["redis hangs"]
    shared = rig.report.section()["shared"]
    assert (shared["configured"], shared["ok"], shared["waiting"]) == (True, False, 1)
