"""A thread that can be started again if it dies."""

import threading
from time import monotonic

import pytest

from marketflow.application.pipeline.loop import Loop

WAIT_S = 5.0


def deadline(seconds=WAIT_S):
    return monotonic() + seconds


def test_the_thread_has_the_loops_name_and_ends_with_its_body():
    names = []
    loop = Loop("collector", lambda: names.append(threading.current_thread().name))
    assert (loop.alive(), loop.dead()) == (False, False)
    loop.start()
    assert loop.join(deadline())
    assert names == ["collector"]
    assert (loop.alive(), loop.dead()) == (False, False)
    assert not loop.revive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_started_again(caplog):
    runs, again = [], threading.Event()

    def body():
        runs.append(1)
        if len(runs) == 1:
            raise SystemExit
        again.wait(WAIT_S)

    loop = Loop("flusher", body)
    loop.start()
    assert loop.join(deadline())
    assert loop.dead()
    assert loop.revive()
    assert loop.alive()
    assert not loop.revive()
    again.set()
    assert loop.join(deadline())
    assert len(runs) == 2
    assert [(r.message, r.loop) for r in caplog.records] == [
        ("thread died and is started again", "flusher")
    ]


def test_joining_gives_up_at_the_deadline():
    ended = threading.Event()
    loop = Loop("stuck", lambda: ended.wait(WAIT_S))
    loop.start()
    assert not loop.join(deadline(0.01))
    assert not loop.join(deadline(-1))
    ended.set()
    assert loop.join(deadline())


def test_a_loop_that_was_never_started_has_ended():
    loop = Loop("idle", lambda: None)
    assert loop.join(deadline())
    assert not loop.revive()
