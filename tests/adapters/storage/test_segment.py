import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketflow.adapters.storage.segment import (
    BadRecord,
    Segment,
    decode,
    encode_header,
    encode_start,
)
from marketflow.application.ports import JournalRecord
from marketflow.domain.mode import Mode
from tests.examples import journal_record

records = st.builds(
    JournalRecord,
    st.sampled_from(Mode),
    st.text(max_size=20),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.binary(max_size=300),
)


def segment_of(records):
    return encode_header(0) + b"".join(encode_start(record) + record.chunk for record in records)


def read(data):
    """Return the readable records and the offset of the first unreadable one."""
    found = []
    try:
        found.extend(decode_into(found, data))
    except BadRecord as error:
        return found, error.offset
    return found, None


def decode_into(found, data):
    for record in decode(data):
        found.append(record)
    return []


@given(st.lists(records, max_size=5))
def test_a_segment_holds_what_was_written(written):
    assert read(segment_of(written)) == (written, None)


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_wherever_the_last_record_is_torn_those_before_it_are_read(whole):
    kept = [journal_record(number) for number in range(whole)]
    start = len(segment_of(kept))
    data = segment_of([*kept, journal_record(whole, chunk=b"x" * 90)])
    for end in range(start + 1, len(data)):
        assert read(data[:end]) == (kept, start)


def test_a_torn_header_is_noticed():
    for end in range(len(segment_of([]))):
        assert read(segment_of([])[:end]) == ([], 0)


@given(
    st.lists(records, min_size=1, max_size=4),
    st.integers(0, 2**31),
    st.integers(min_value=0, max_value=7),
)
def test_a_flipped_bit_costs_its_record_and_the_rest_but_is_never_believed(written, place, bit):
    data = bytearray(segment_of(written))
    header = len(segment_of([]))
    at = header + place % (len(data) - header)
    data[at] ^= 1 << bit
    found, offset = read(bytes(data))
    assert found == written[: len(found)]
    assert offset == len(segment_of(found)) <= at


def test_an_absurd_length_is_not_believed():
    good, bad = journal_record(0), bytearray(encode_start(journal_record(1)))
    bad[8:12] = b"\xff\xff\xff\xff"
    data = segment_of([good]) + bytes(bad) + b"chunk"
    assert read(data) == ([good], len(segment_of([good])))


def test_a_tail_of_zeros_is_not_believed():
    good = journal_record(0)
    assert read(segment_of([good]) + bytes(4096)) == ([good], len(segment_of([good])))


@given(st.binary(max_size=400))
def test_no_bytes_make_the_reader_fail(data):
    read(data)
    read(encode_header(5) + data)


def test_segments_are_found_in_the_order_they_were_begun_whatever_the_clock_said(tmp_path):
    written = [Segment.create(tmp_path, serial, start) for serial, start in ((9, 70), (10, 5))]
    for segment in reversed(written):
        segment.path.write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not ours")
    assert Segment.find(tmp_path) == written


@pytest.mark.parametrize("since_ms", [0, 3])
def test_a_segment_remembers_from_when_on_nothing_came_before_it(tmp_path, since_ms):
    segment = Segment.create(tmp_path, 1, 5)
    assert segment.complete_from_ms() == 5, "unreadable: what is certain is its own start"
    segment.path.write_bytes(encode_header(since_ms))
    assert segment.complete_from_ms() == since_ms


@pytest.mark.parametrize(("start", "until"), [(0, 60_000), (59_999, 60_000), (60_000, 120_000)])
def test_a_segment_ends_with_its_minute(tmp_path, start, until):
    assert Segment.create(tmp_path, 1, start).until_ms == until
