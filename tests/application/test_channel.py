"""The bounded queue that can be closed."""

import threading

import pytest

from marketflow.application.pipeline.channel import Channel
from marketflow.domain.errors import ChannelClosed

WAIT_S = 5.0


def start(body, *arguments):
    thread = threading.Thread(target=body, args=arguments)
    thread.start()
    return thread


def join(*threads):
    for thread in threads:
        thread.join(WAIT_S)
    assert not [thread for thread in threads if thread.is_alive()]


def read_all(channel, into):
    try:
        while True:
            into.append(channel.get())
    except ChannelClosed:
        pass


def take_all(channel, into):
    try:
        while True:
            into.extend(channel.take(7, 0.05))
    except ChannelClosed:
        pass


def full(capacity=2):
    channel = Channel("test", capacity)
    for item in range(capacity):
        assert channel.put(item)
    return channel


def test_items_come_out_in_the_order_they_went_in():
    channel = full(3)
    assert [channel.get() for _ in range(3)] == [0, 1, 2]


def test_a_full_channel_makes_the_producer_wait():
    channel, done = full(), threading.Event()
    producer = start(lambda: (channel.put("last"), done.set()))
    assert not done.wait(0.05)
    assert channel.get() == 0
    assert done.wait(WAIT_S)
    join(producer)
    assert channel.take(9, 0) == [1, "last"]


def test_a_producer_that_waits_no_longer_than_told_keeps_its_item():
    channel = full()
    assert not channel.put("refused", timeout=0)
    assert not channel.put("refused", timeout=0.01)
    assert channel.take(9, 0) == [0, 1]


def test_taking_returns_what_is_there_up_to_the_limit():
    channel = full(5)
    assert channel.take(2, 0) == [0, 1]
    assert channel.take(9, 0) == [2, 3, 4]
    assert channel.take(9, 0) == []
    assert channel.take(9, 0.01) == []


def test_taking_waits_for_the_first_item_only():
    channel, taken = Channel("test", 2), []
    reader = start(lambda: taken.extend(channel.take(2, WAIT_S)))
    channel.put("only")
    join(reader)
    assert taken == ["only"]


def test_a_closed_channel_gives_what_it_holds_and_then_ends_for_every_reader():
    channel = full(4)
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.put("too late")
    assert channel.get() == 0
    assert channel.take(2, 0) == [1, 2]
    assert channel.take(9, 0) == [3]
    for _ in range(2):
        with pytest.raises(ChannelClosed, match=r"^test$"):
            channel.get()
        with pytest.raises(ChannelClosed):
            channel.take(9, 0)


def test_closing_wakes_every_reader_that_waits():
    channel = Channel("test", 2)
    readers = [start(read_all, channel, []) for _ in range(4)]
    readers += [start(take_all, channel, []) for _ in range(2)]
    channel.close()
    join(*readers)


def test_closing_a_full_channel_does_not_wait_and_twice_is_once():
    channel = full()
    channel.close()
    channel.close()
    assert channel.depth() == 2
    assert channel.take(9, 0) == [0, 1]
    assert channel.depth() == 0


def test_an_item_put_by_a_producer_that_was_waiting_while_it_closed_is_still_read():
    channel, read = full(), []
    producer = start(channel.put, "waited")
    while not channel._producers:
        threading.Event().wait(0.001)
    channel.close()
    reader = start(read_all, channel, read)
    join(producer, reader)
    assert read in ([0, 1, "waited"], [0, 1])  # "what is put while it closes may be refused"
    assert channel.depth() in (0, 1)


def test_the_depth_says_how_many_items_wait():
    channel = Channel("test", 3)
    assert channel.depth() == 0
    channel.put("one")
    assert channel.depth() == 1


@pytest.mark.parametrize("read", [read_all, take_all])
def test_nothing_is_lost_or_doubled_between_many_writers_and_readers(read):
    channel, results = Channel("test", 3), [[] for _ in range(4)]
    readers = [start(read, channel, result) for result in results]

    def write(writer):
        for number in range(500):
            channel.put((writer, number))

    writers = [start(write, writer) for writer in range(4)]
    join(*writers)
    channel.close()
    join(*readers)
    items = [item for result in results for item in result]
    assert sorted(items) == [(writer, number) for writer in range(4) for number in range(500)]
    for result in results:
        for writer in range(4):
            numbers = [number for who, number in result if who == writer]
            assert numbers == sorted(numbers)


def test_a_reader_that_gives_up_just_then_leaves_the_item_to_the_next_or_takes_it():
    channel, numbers = Channel("test", 1), range(3_000)
    results = [[], []]

    def read(result):
        try:
            while True:
                result.extend(channel.take(1, 0.00001))
        except ChannelClosed:
            pass

    readers = [start(read, result) for result in results]
    for number in numbers:
        assert channel.put(number)
    channel.close()
    join(*readers)
    assert sorted(results[0] + results[1]) == list(numbers)


def test_a_producer_that_gives_up_just_then_knows_whether_its_item_went():
    channel, read, sent = Channel("test", 1), [], [[] for _ in range(3)]

    def write(writer):
        for number in range(1_000):
            if channel.put((writer, number), timeout=0.00001):
                sent[writer].append((writer, number))

    reader = start(read_all, channel, read)
    join(*(start(write, writer) for writer in range(3)))
    channel.close()
    join(reader)
    assert sorted(read) == sorted(item for items in sent for item in items)


def test_producers_are_admitted_as_they_came_and_never_more_than_there_is_room_for():
    channel, depths, read, producers = full(2), [], [], []
    for number in range(2, 10):
        producers.append(start(channel.put, number))
        while len(channel._producers) < len(producers):
            threading.Event().wait(0.001)
    for _ in range(10):
        depths.append(channel.depth())
        read.append(channel.get())
    join(*producers)
    assert depths == [2] * 9 + [1]
    assert read == list(range(10))


def test_an_item_goes_to_the_reader_that_came_last():
    channel, results = Channel("test", 2), [[], []]
    readers = []
    for result in results:
        readers.append(start(read_all, channel, result))
        while len(channel._readers) < len(readers):
            threading.Event().wait(0.001)
    channel.put("item")
    channel.close()
    join(*readers)
    assert results == [[], ["item"]]
