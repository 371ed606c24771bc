"""A recording is played as recorded, as if now, again and again."""

from itertools import islice

import pytest

from fakeexchange.replay import Recording

LINES = (
    b'{"symbol":"BTCUSDT","price":99881.6126506916,"timestamp":1795250905682}\n'
    b'{"symbol":"DOGEUSDT","price":0.30017750720269454,"timestamp":1795250905682}\n'
    b'{"symbol":"BTCUSDT","price":100057.2758977561,"timestamp":1795250905782}\n'
)


def played(recording, speed, count):
    return [
        (burst.at_ms, b"1".join(burst.pieces)) for burst in islice(recording.bursts(speed), count)
    ]


def test_lines_keep_their_spacing_and_their_bytes():
    lines = [line.replace(b"17952509056", b"@") for line in LINES.splitlines(keepends=True)]
    expected = [line.split(b"timestamp")[0] + b'timestamp":1}\n' for line in lines]
    assert played(Recording(LINES), 1, 3) == list(zip([0, 0, 100], expected, strict=True))


def test_speed_divides_the_spacing():
    assert [at_ms for at_ms, _ in played(Recording(LINES), 10, 3)] == [0, 0, 10]


def test_after_the_last_line_it_starts_over_one_burst_later():
    assert [at_ms for at_ms, _ in played(Recording(LINES), 1, 7)] == [0, 0, 100, 200, 200, 300, 400]


def test_a_line_without_a_timestamp_follows_its_neighbour_unchanged():
    broken = b"\xff\x00 not json\n"
    recording = Recording(LINES + broken + LINES[:10])
    assert played(recording, 1, 5)[3:] == [(100, broken), (100, LINES[:10] + b"\n")]


def test_a_recording_without_a_timestamp_is_refused():
    with pytest.raises(ValueError, match="must hold lines"):
        Recording(b"nothing\n")
