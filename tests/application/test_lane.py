"""How many chunks a source may have on the way."""

import threading
from collections import deque

from marketflow.application.pipeline.lane import IN_FLIGHT, Lane
from marketflow.application.pipeline.messages import Origin
from marketflow.domain.mode import Mode

WAIT_S = 5.0


def lane():
    return Lane(Origin(Mode.LIVE, "exchange1", 0))


def test_the_oldest_chunk_on_its_way_is_known_until_it_is_settled():
    one = lane()
    assert one.oldest_ms() is None
    one.enter(100)
    one.enter(200)
    assert (one.oldest_ms(), one.in_flight()) == (100, 2)
    one.settle()
    assert (one.oldest_ms(), one.in_flight()) == (200, 1)
    one.settle()
    assert one.oldest_ms() is None


def test_a_source_with_too_many_chunks_waits_until_one_is_settled():
    one, admitted = lane(), threading.Event()
    for at in range(IN_FLIGHT):
        one.enter(at)
        one.wait_for_slot()
    one.enter(IN_FLIGHT)
    listener = threading.Thread(target=lambda: (one.wait_for_slot(), admitted.set()))
    listener.start()
    assert not admitted.wait(0.05)
    one.settle()
    assert admitted.wait(WAIT_S)
    listener.join(WAIT_S)


def test_its_work_channel_has_room_for_every_chunk_it_admits():
    assert lane().work.capacity == IN_FLIGHT
    assert lane().work.name == "work-exchange1"


def test_waiting_until_it_is_empty_ends_with_the_last_chunk_or_in_time():
    one = lane()
    assert one.wait_until_empty(0)
    one.enter(1)
    assert not one.wait_until_empty(0.01)
    settler = threading.Timer(0.02, one.settle)
    settler.start()
    assert one.wait_until_empty(WAIT_S)
    settler.join(WAIT_S)


def test_a_withdrawn_chunk_leaves_its_slot_to_the_next():
    one = lane()
    for at in range(IN_FLIGHT + 1):
        one.enter(at)
    one.withdraw()
    one.wait_for_slot()
    assert (one.oldest_ms(), one.in_flight()) == (0, IN_FLIGHT)


class Interrupted(deque):
    """The chunks on their way; something happens between a step and what follows from it."""

    def __init__(self, chunks, *, after_look=None, before_settling=None):
        super().__init__(chunks)
        self.after_look = after_look
        self.before_settling = before_settling
        self.settled = threading.Event()

    def __len__(self):
        length = super().__len__()
        if self.after_look is not None:
            event, self.after_look = self.after_look, None
            event()
        return length

    def popleft(self):
        if self.before_settling is not None:
            self.before_settling()
        super().popleft()
        self.settled.set()


def test_a_chunk_that_settles_while_the_listener_decides_to_wait_lets_it_go_on():
    one, threads = lane(), []

    def settle_meanwhile():
        threads.append(threading.Thread(target=one.settle))
        threads[-1].start()
        assert one._received_ms.settled.wait(WAIT_S)

    def look_twice():  # the first look is only whether to wait at all
        one._received_ms.after_look = settle_meanwhile

    one._received_ms = Interrupted(range(IN_FLIGHT + 1), after_look=look_twice)
    threads.append(threading.Thread(target=one.wait_for_slot, daemon=True))
    threads[0].start()
    for thread in threads:
        thread.join(WAIT_S)
    threads[-1].join(WAIT_S)
    assert not [thread for thread in threads if thread.is_alive()]


def test_a_listener_that_begins_to_wait_while_a_chunk_settles_goes_on():
    one = lane()
    listener = threading.Thread(target=one.wait_for_slot, daemon=True)

    def wait_meanwhile():
        listener.start()
        while not one._waiting:
            threading.Event().wait(0.001)

    one._received_ms = Interrupted(range(IN_FLIGHT + 1), before_settling=wait_meanwhile)
    one.settle()
    listener.join(WAIT_S)
    assert not listener.is_alive()


def test_no_wake_up_is_lost_however_close_waiting_and_settling_come(monkeypatch):
    monkeypatch.setattr("marketflow.application.pipeline.lane.IN_FLIGHT", 1)
    one, count, most = lane(), 3_000, []
    entered = threading.Semaphore(0)

    def listen():
        for at in range(count):
            one.enter(at)
            one.wait_for_slot()
            most.append(one.in_flight())
            entered.release()

    def collect():
        for _ in range(count):
            entered.acquire()
            one.settle()

    threads = [threading.Thread(target=body) for body in (listen, collect)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not [thread for thread in threads if thread.is_alive()]
    assert one.wait_until_empty(0)
    assert max(most) == 1
