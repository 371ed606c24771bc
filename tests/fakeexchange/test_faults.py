"""Faults happen when planned, and garbage leaves the good lines whole."""

from itertools import pairwise
from random import Random

from fakeexchange.faults import Faults, Plan, Span

SEND = b'{"symbol":"BTCUSDT","price":1.5,"timestamp":1}\n{"symbol":"ETHUSDT","price":2.5}\n'


def test_a_connection_is_dropped_every_two_to_ten_seconds():
    faults = Faults(["drop"], Random(1))
    drops = [now for now in range(0, 600_000, 10) if faults.drops(now)]
    gaps = [later - last for last, later in pairwise([0, *drops])]
    assert 2_000 <= min(gaps) < 3_000
    assert 9_000 < max(gaps) <= 10_010


def test_a_stall_lasts_longer_than_five_seconds():
    faults = Faults(["stall"], Random(1))
    silent = [now for now in range(0, 600_000, 100) if faults.silent_until(now) > now]
    assert silent
    begins = [now for now in silent if now - 100 not in silent]
    ends = [now for now in silent if now + 100 not in silent]
    lengths = [end - begin for begin, end in zip(begins, ends, strict=True)]
    assert min(lengths) >= 5_800
    assert max(lengths) <= 10_000


def test_garbage_of_every_kind_stands_between_whole_lines():
    faults = Faults(["garbage"], Random(1), Plan(garbage_share=1.0))
    good = SEND.splitlines()
    broken = set()
    for _ in range(200):
        lines = faults.spoil(SEND, 1_795_248_049_047).split(b"\n")
        assert lines.pop() == b""
        assert [line for line in lines if line in good] == good
        broken |= {line for line in lines if line not in good}
    for kind in (b"NaN", b"NOSUCHUSDT", b'"pri', b"\x00", b"XXXX"):
        assert any(kind in line for line in broken)
    assert max(map(len, broken)) > 65_536


def test_garbage_comes_only_now_and_then():
    faults = Faults(["garbage"], Random(1))
    spoilt = sum(faults.spoil(SEND, 1) != SEND for _ in range(1000))
    assert 100 < spoilt < 300


def test_only_the_chosen_kinds_happen():
    for chosen in ("drop", "stall", "garbage"):
        faults = Faults([chosen], Random(1))
        happened = {
            "drop": any(faults.drops(now) for now in range(0, 60_000, 100)),
            "stall": any(faults.silent_until(now) > now for now in range(0, 60_000, 100)),
            "garbage": any(faults.spoil(SEND, 1) != SEND for _ in range(100)),
        }
        assert [kind for kind, did in happened.items() if did] == [chosen]


SHORT = Plan(
    drop_every=Span(100, 200),
    stall_every=Span(200, 300),
    stall_for=Span(1100, 1200),
    garbage_share=1.0,
)


def test_a_dropped_client_is_cut_off_in_the_middle_of_a_line(serve, connect):
    exchange = serve(rate=500, faults=Faults(["drop"], Random(1), SHORT))
    with connect(exchange.listener.port).makefile("rb") as stream:
        *whole, last = stream.readlines()
    assert whole
    assert all(line.endswith(b"}\n") for line in whole)
    assert not last.endswith(b"\n")


def test_a_stalled_exchange_goes_silent_and_then_goes_on_without_a_flood(serve, connect):
    exchange = serve(rate=500, faults=Faults(["stall"], Random(1), SHORT))
    stamps = []
    with connect(exchange.listener.port).makefile("rb") as stream:
        while not stamps or stamps[-1] - stamps[0] < 1500:
            stamps.append(int(stream.readline().split(b":")[-1].rstrip(b"}\n")))
    gaps = [later - last for last, later in pairwise(stamps)]
    assert max(gaps) >= 1100
    assert sum(gap > 200 for gap in gaps) <= 2


def test_garbage_goes_over_the_wire_between_good_lines(serve, connect):
    exchange = serve(faults=Faults(["garbage"], Random(1), SHORT), rate=1000)
    with connect(exchange.listener.port).makefile("rb") as stream:
        lines = [stream.readline() for _ in range(60)]
    assert any(b"NOSUCHUSDT" in line for line in lines)
    assert sum(line.startswith(b'{"symbol":"ETHUSDT"') for line in lines) >= 5
