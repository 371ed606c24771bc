"""An exchange that does not answer is left alone, and tried again."""

import logging

import pytest

from marketflow.application.assets.breaker import Breaker, BreakerState
from marketflow.domain.errors import NotAsked, NotListed, QuoteFailed
from tests.application.assets.rig import Rig, says

CLOSED, HALF_OPEN, OPEN = BreakerState
OPEN_FOR = 30_000


@pytest.fixture
def breaker():
    return Breaker("exchange1")


def ask(breaker, now, times=1):
    return [breaker.allow(now) for _ in range(times)].count(True)


def fail(breaker, now, times):
    for _ in range(times):
        assert breaker.allow(now)
        breaker.failed(now, "refused")


def opened(breaker, now=0):
    fail(breaker, now, 5)
    return breaker


def test_the_numbers_are_those_of_the_metric():
    assert (CLOSED, HALF_OPEN, OPEN) == (0, 1, 2)


def test_failures_in_a_row_open_it(breaker):
    fail(breaker, 0, 4)
    assert (breaker.state, ask(breaker, 0, 100)) == (CLOSED, 100)
    breaker.failed(7, "timed out")
    assert (breaker.state, breaker.since_mono, breaker.reason) == (OPEN, 7, "timed out")
    assert (breaker.room(7), ask(breaker, 7, 100)) == (0, 0)


def test_a_success_between_them_begins_the_count_again(breaker):
    fail(breaker, 0, 4)
    breaker.succeeded(0)
    fail(breaker, 0, 4)
    assert breaker.state is CLOSED


def test_when_its_time_is_over_a_few_questions_go_through_at_once(breaker):
    opened(breaker)
    assert ask(breaker, OPEN_FOR - 1, 10) == 0
    assert breaker.room(OPEN_FOR) == 2
    assert ask(breaker, OPEN_FOR, 10) == 2
    assert (breaker.state, breaker.room(OPEN_FOR)) == (HALF_OPEN, 0)


def test_probes_that_succeed_close_it(breaker):
    opened(breaker)
    assert ask(breaker, OPEN_FOR, 1) == 1
    breaker.succeeded(OPEN_FOR)
    assert breaker.state is HALF_OPEN
    assert ask(breaker, OPEN_FOR, 1) == 1
    breaker.succeeded(OPEN_FOR + 5)
    assert (breaker.state, breaker.since_mono) == (CLOSED, OPEN_FOR + 5)
    assert ask(breaker, OPEN_FOR + 5, 100) == 100


def test_one_probe_that_fails_opens_it_for_as_long_again(breaker):
    opened(breaker)
    assert ask(breaker, OPEN_FOR, 2) == 2
    breaker.succeeded(OPEN_FOR)
    breaker.failed(OPEN_FOR + 9, "still refused")
    assert (breaker.state, breaker.reason) == (OPEN, "still refused")
    assert ask(breaker, 2 * OPEN_FOR + 8, 10) == 0
    assert ask(breaker, 2 * OPEN_FOR + 9, 10) == 2


def test_after_closing_it_takes_as_many_failures_as_before(breaker):
    opened(breaker)
    for _ in range(2):
        breaker.allow(OPEN_FOR)
        breaker.succeeded(OPEN_FOR)
    fail(breaker, OPEN_FOR, 4)
    assert breaker.state is CLOSED


def test_answers_that_come_late_neither_close_it_nor_keep_it_open_for_longer(breaker):
    ask(breaker, 0, 100)
    for _ in range(50):
        breaker.failed(1, "refused")
    for _ in range(10):
        breaker.succeeded(2)
    for _ in range(40):
        breaker.failed(20_000, "refused")
    assert breaker.state is OPEN
    assert ask(breaker, OPEN_FOR + 1, 10) == 2


def test_a_withdrawn_probe_makes_room_for_another(breaker):
    opened(breaker)
    assert ask(breaker, OPEN_FOR, 10) == 2
    breaker.withdrawn()
    assert ask(breaker, OPEN_FOR, 10) == 1
    assert breaker.state is HALF_OPEN


def test_a_withdrawn_question_says_nothing(breaker):
    for _ in range(10):
        breaker.allow(0)
        breaker.withdrawn()
    assert (breaker.state, breaker.answered, breaker.reason) == (CLOSED, False, None)
    fail(breaker, 0, 4)
    breaker.withdrawn()
    fail(breaker, 0, 1)
    assert breaker.state is OPEN


def test_it_remembers_whether_the_exchange_ever_answered(breaker):
    opened(breaker)
    assert not breaker.answered
    breaker.allow(OPEN_FOR)
    breaker.succeeded(OPEN_FOR)
    breaker.failed(OPEN_FOR, "refused")
    assert breaker.answered


def test_an_outage_is_told_when_it_starts_and_when_it_ends(breaker, caplog):
    caplog.set_level(logging.INFO)
    opened(breaker, now=1_000)
    for n in (1, 2, 3):
        breaker.allow(n * OPEN_FOR + 1_000)
        breaker.failed(n * OPEN_FOR + 1_000, "refused")
    for _ in range(2):
        breaker.allow(4 * OPEN_FOR + 1_000)
        breaker.succeeded(4 * OPEN_FOR + 1_000)
    lines = [(record.levelname, record.exchange, record.message) for record in caplog.records]
    assert lines == [
        ("WARNING", "exchange1", "exchange does not answer, it is not asked for a while"),
        ("INFO", "exchange1", "exchange answers again"),
    ]
    assert (caplog.records[0].reason, caplog.records[1].for_s) == ("refused", 120.0)


@pytest.mark.parametrize(
    ("answer", "state", "answered"),
    [
        (QuoteFailed("refused"), OPEN, False),
        (NotListed(), CLOSED, True),
        (NotAsked("too many"), CLOSED, False),
    ],
)
def test_what_an_answer_means_for_it(answer, state, answered):
    rig = Rig()
    rig.answer(says(answer), rig.quotes(2), rig.quotes(3))
    for _ in range(10):
        rig.refreshed()
    breaker = rig.breakers()[0]
    assert (breaker.state, breaker.answered) == (state, answered)
    assert len(rig.live[0].asked) == (5 if state is OPEN else 10)


def test_a_stale_quote_is_an_answer():
    rig = Rig()
    rig.answer(rig.quotes(1, age_ms=3_600_000), rig.quotes(2), rig.quotes(3))
    for _ in range(10):
        assert rig.refreshed().price.price == 250.0
    assert (rig.breakers()[0].state, rig.breakers()[0].answered) == (CLOSED, True)


def test_an_exchange_that_was_killed_and_is_back_is_used_again():
    rig = Rig()
    rig.answer(says(QuoteFailed("refused")), rig.quotes(2), rig.quotes(3))
    for _ in range(8):
        rig.refreshed()
    assert len(rig.live[0].asked) == 5
    rig.answer(rig.quotes(1), rig.quotes(2), rig.quotes(3))
    assert len(rig.refreshed().price.sources) == 2
    rig.clock.advance(OPEN_FOR)
    assert [len(rig.refreshed().price.sources) for _ in range(3)] == [3, 3, 3]
    assert rig.breakers()[0].state is CLOSED
