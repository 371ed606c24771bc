"""How many chunks a source may have on the way."""

import threading

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
