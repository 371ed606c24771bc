"""Delays that grow, and log lines that do not repeat."""

from random import Random

import pytest

from marketflow.application.pipeline.backoff import Backoff, Throttle


def test_delays_double_up_to_the_longest_less_a_quarter_at_most():
    backoff = Backoff(0.5, 5.0, Random(1))
    for longest in (0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0):
        assert longest * 0.75 <= backoff.next() <= longest


def test_a_reset_begins_with_the_shortest_delay_again():
    backoff = Backoff(0.5, 5.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 0.5


def test_many_clients_do_not_come_back_at_the_same_moment():
    assert len({Backoff(0.5, 5.0).next() for _ in range(20)}) > 10


def test_the_longest_delay_holds_for_the_first_one_too():
    assert Backoff(0.5, 0.1).next() <= 0.1


def test_the_first_event_is_told_and_the_next_ones_are_counted_until_its_second_is_over():
    throttle = Throttle(1_000)
    assert throttle.allow("price", 50) == 1
    assert throttle.allow("price", 50, 3) == 0
    assert throttle.allow("price", 1_049) == 0
    assert throttle.allow("price", 1_050, 2) == 6
    assert throttle.allow("price", 2_050) == 1


def test_each_key_has_a_second_of_its_own():
    throttle = Throttle(1_000)
    assert [throttle.allow(key, 0) for key in "aabb"] == [1, 0, 1, 0]


@pytest.mark.parametrize("every_ms", [100, 1_000])
def test_a_storm_is_told_as_often_as_allowed_and_every_event_of_it_is_counted(every_ms):
    throttle = Throttle(every_ms)
    told = [count for now in range(5_000) if (count := throttle.allow("json", now))]
    assert len(told) == 5_000 // every_ms
    assert sum(told) == 5_000 - every_ms + 1
