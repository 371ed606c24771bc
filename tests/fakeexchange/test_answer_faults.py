"""What goes wrong with answers goes wrong now and then, and only what was chosen."""

import json
import math
from http import HTTPStatus
from random import Random

import pytest

from fakeexchange.answer_faults import AnswerFaults
from fakeexchange.faults import KINDS, Plan
from fakeexchange.http_messages import Answer

GOOD = Answer(
    HTTPStatus.OK, b'{"symbol":"btcusdt","price":79850.12,"volume":12.3,"timestamp":1696118400}'
)


def happenings(kinds, count=1000):
    """Return how often which kind of thing happened to an answer, one every 20 ms."""
    faults = AnswerFaults(kinds, Random(1))
    answers = [(faults.age_s(), faults.spoil(GOOD, now_ms)) for now_ms in range(0, count * 20, 20)]
    return {
        "stale": sum(age_s > 0 for age_s, _ in answers),
        "late": sum(answer.wait_ms > 0 for _, answer in answers),
        "error": sum(answer.status == 500 for _, answer in answers),
        "cut": sum(answer.is_cut for _, answer in answers),
        "broken": sum(answer.status == 200 and answer.body != GOOD.body for _, answer in answers),
    }


@pytest.mark.parametrize(
    ("chosen", "results"),
    [
        ("drop", {"cut"}),
        ("stall", {"late"}),
        ("garbage", {"cut", "broken"}),
        ("slow", {"late"}),
        ("error", {"error"}),
        ("stale", {"stale"}),
    ],
)
def test_only_the_chosen_kind_happens_and_most_answers_are_well(chosen, results):
    counts = happenings([chosen])
    assert {result for result, count in counts.items() if count} == results
    assert max(counts.values()) < 500


def test_all_kinds_may_happen_together():
    assert min(happenings(KINDS).values()) > 5


def test_slow_answers_are_half_a_second_to_five_seconds_late():
    faults = AnswerFaults(["slow"], Random(1), Plan(slow_share=1.0))
    waits = [faults.spoil(GOOD, 0).wait_ms for _ in range(500)]
    assert 500 <= min(waits) < 600
    assert 4_900 < max(waits) <= 5_000


def is_quote(answer):
    """Whether a client could take *answer* for a price."""
    try:
        body = json.loads(answer.body)
        price = body["price"]
    except (ValueError, TypeError, KeyError):
        return False
    return type(price) in (int, float) and math.isfinite(price) and price > 0 and not answer.is_cut


def test_no_garbage_can_be_taken_for_a_price():
    faults = AnswerFaults(["garbage"], Random(1), Plan(garbage_share=1.0))
    answers = [faults.spoil(GOOD, 0) for _ in range(500)]
    assert [answer for answer in answers if is_quote(answer)] == []
    text = b"\n".join(answer.body for answer in answers)
    for kind in (b"NaN", b"Infinity", b"-1.5", b'"much"', b"null", b"<html>", b"xxxx", b"\n\n"):
        assert kind in text
