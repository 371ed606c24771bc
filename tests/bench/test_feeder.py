import contextlib
import json
import signal
import socket
from collections import Counter

import pytest

from bench.feeder import BLOB_BYTES, Script, pair_names
from bench.feeding import Feeder
from tools.processes import Processes


def lines(data):
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("count", [1, 5, 50])
def test_a_burst_holds_every_pair_once_at_one_moment(count):
    pairs = pair_names(count)
    found = lines(Script(1, pairs).burst(1_746_448_612_345))
    assert [line["symbol"] for line in found] == pairs
    assert {line["timestamp"] for line in found} == {1_746_448_612_345}
    assert all(line["price"] > 0 for line in found)


@pytest.mark.parametrize("count", [5, 500])
def test_a_blob_is_whole_bursts_of_one_moment(count):
    script = Script(2, pair_names(count))
    blob = script.blob()
    found = lines(blob)
    assert len(found) == script.bursts_per_blob * count
    assert len({line["timestamp"] for line in found}) == 1
    assert len(blob) <= max(BLOB_BYTES, len(script.burst())) * 1.05


def test_the_next_blob_has_other_prices():
    script = Script(1, pair_names(5))
    first, second = script.blob(), script.blob()
    assert lines(first)[0]["price"] != lines(second)[0]["price"]


@pytest.fixture
def processes():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with Processes() as some:
        yield some
    # it leaves signals blocked, for a program that ends; the tests that follow need them
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def read_all(clients, feeder):
    """Return what each client got until the feeder, told to pause, has nothing more to send."""
    received = [b""] * len(clients)
    ledger = feeder.ledger()
    wanted = [burst * len(feeder.pairs) for burst in ledger.bursts]
    for i, client in enumerate(clients):
        client.settimeout(5)
        while received[i].count(b"\n") < wanted[i]:
            received[i] += client.recv(1 << 20)
    return received, ledger


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pace", "fill"])
def test_the_ledger_tells_what_was_received(processes, way):
    feeder = Feeder(processes, pairs=5)
    with contextlib.ExitStack() as stack:
        stack.callback(feeder.close)
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for port in feeder.ports
        ]
        feeder.wait_for_clients()
        if way == "pace":
            feeder.pace(3_000)
            while feeder.ledger().ticks < 300:
                processes.wait(0.01)
            feeder.pause()
        else:
            feeder.fill(1_500, 2.0)
        received, ledger = read_all(clients, feeder)
    counted = [Counter(line["symbol"] for line in lines(data)) for data in received]
    assert counted == [dict.fromkeys(feeder.pairs, bursts) for bursts in ledger.bursts]
    assert ledger.cut_off == 0
    if way == "fill":
        assert ledger.ticks == 3_000
