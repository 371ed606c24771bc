"""The process's threads: who displaces whom."""

import errno
import os
import threading
from contextlib import contextmanager

import pytest

from marketflow import process

pytestmark = pytest.mark.skipif(
    not hasattr(os, "SCHED_BATCH"), reason="the system has no such scheduling policy"
)
WAIT_S = 5.0


def policy():
    """Return the calling thread's, by name."""
    names = {os.SCHED_OTHER: "other", os.SCHED_BATCH: "batch", os.SCHED_IDLE: "idle"}
    return names[os.sched_getscheduler(0)]


def on_a_thread(body):
    """Run *body* on a thread of its own, whose policy goes with it; what it returned."""
    results = []
    thread = threading.Thread(target=lambda: results.append(body()))
    thread.start()
    thread.join(WAIT_S)
    return results[0]


@contextmanager
def waiting_thread():
    """Start a thread that waits; its policy is asked for by its id."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, args=(WAIT_S,))
    thread.start()
    try:
        yield thread
    finally:
        done.set()
        thread.join(WAIT_S)


def test_threads_started_from_then_on_do_not_displace_others_until_one_is_told_to():
    def body():
        process.wake_without_preempting()
        with waiting_thread() as told, waiting_thread() as other:
            process.preempt_when_woken(told)
            found = [os.sched_getscheduler(thread.native_id) for thread in (told, other)]
        return found, policy()

    assert on_a_thread(body) == ([os.SCHED_OTHER, os.SCHED_BATCH], "batch")
    assert policy() == "other"


def test_a_policy_that_somebody_else_has_chosen_stays():
    def body():
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        process.wake_without_preempting()
        with waiting_thread() as thread:
            process.preempt_when_woken(thread)
            return policy(), os.sched_getscheduler(thread.native_id)

    assert on_a_thread(body) == ("idle", os.SCHED_IDLE)


def test_a_sandbox_that_refuses_it_changes_nothing(monkeypatch, caplog):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    caplog.set_level("DEBUG")
    process.wake_without_preempting()
    assert policy() == "other"
    assert [(record.levelname, record.reason) for record in caplog.records] == [
        ("DEBUG", "Operation not permitted")
    ]


def test_a_system_without_such_policies_is_left_alone(monkeypatch, caplog):
    monkeypatch.delattr(os, "SCHED_BATCH")
    caplog.set_level("DEBUG")
    process.wake_without_preempting()
    process.preempt_when_woken(threading.current_thread())
    assert not caplog.records
