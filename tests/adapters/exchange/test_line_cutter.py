"""Bytes cut into whole lines, and how little of them is held."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.exchange.wire import LineCutter
from tests.adapters.exchange.wire_lines import MAX_LINE, NOW, decoder, line


@given(st.lists(st.binary(max_size=300)), st.integers(1, 60))
def test_the_cutter_hands_out_whole_lines_and_holds_less_than_one(pieces, max_line):
    cutter = LineCutter(max_line)
    cut = [cutter.cut(piece) for piece in pieces]
    assert all(lines.endswith(b"\n") for lines in cut if lines)
    assert len(cutter.end()) <= max_line
    whole = b"".join(pieces).split(b"\n")[:-1]
    out = b"".join(cut).split(b"\n")[:-1]
    # the last line may have been cut before its newline came
    for expected, actual in zip(whole, out, strict=False):
        assert actual == expected or (
            len(expected) >= max_line
            and actual == expected[: len(actual)]
            and len(actual) == max_line
        )
    assert 0 <= len(out) - len(whole) <= 1


def test_lines_split_at_every_byte_arrive_whole():
    data = line() + line("ETHUSDT", "3050.5") + b"\n" + line("DOGEUSDT", "0.3")
    for at in range(len(data) + 1):
        cutter = LineCutter(MAX_LINE)
        assert cutter.cut(data[:at]) + cutter.cut(data[at:]) == data
        assert cutter.end() == b""


def test_an_endless_line_counts_once_and_reading_goes_on_after_it():
    cutter = LineCutter(MAX_LINE)
    pieces = [b"x" * 65_536] * 48 + [b"x" * 100 + b"\n" + line() + line()[:20], line()[20:]]
    chunks = [chunk for piece in pieces if (chunk := cutter.cut(piece))]
    assert [len(chunk) for chunk in chunks] == [MAX_LINE + 1, len(line()), len(line())]
    found = decoder().decode(b"".join(chunks), NOW)
    assert (found.lines, found.rejects) == (3, {"too_long": 1})


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 3_000_000,
        b"garbage %d\n" * 100_000,
        b'{"symbol":"S%d","price":1,"timestamp":1}\n' * 30_000,
    ],
    ids=["no newline", "garbage lines", "unknown symbols"],
)
def test_memory_stays_flat_under_garbage(data):
    pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
    cutter, one = LineCutter(MAX_LINE), decoder()
    lines = 0
    tracemalloc.start()
    try:
        for piece in pieces:
            found = one.decode(cutter.cut(piece), NOW)
            assert found.lines == sum(found.rejects.values())
            lines += found.lines
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == max(1, data.count(b"\n"))
    assert held < 200_000
    assert peak < 3_000_000
