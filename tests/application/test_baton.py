"""Tests for the baton."""

import threading

from marketflow.application.pipeline.baton import Baton

WAIT_S = 10.0


def test_one_thread_has_it_at_a_time():
    baton, inside, most = Baton(WAIT_S), [], []

    def run():
        for _ in range(50):
            assert baton.take()
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            baton.give_back()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert most == [1] * 200
    assert not baton.is_held()


def test_nobody_waits_for_a_holder_that_is_stuck():
    baton = Baton(0.01)
    assert baton.take()
    assert not baton.take()
    baton.give_back()
    assert baton.take()


def test_who_waits_long_while_others_have_it_in_turn_goes_on_waiting():
    baton, took, begun = Baton(0.1), [], threading.Event()

    def wait_for_it():
        begun.set()
        took.append(baton.take())

    assert baton.take()
    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    assert begun.wait(WAIT_S)
    for _ in range(12):  # of half its patience each
        threading.Event().wait(0.05)
        baton._times_taken += 1  # as if it had been given back and taken by another
    baton.give_back()
    waiting.join(WAIT_S)
    assert took == [True]
