"""Recorded lines, played again and again as if they were sent now."""

import io
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from fakeexchange.prices import Burst

_TIMESTAMP = re.compile(rb'"timestamp":\s*(\d{1,16})\b')
_DEFAULT_GAP_MS = 100


class Recording:
    """Newline-delimited JSON as it was received from an exchange, in memory."""

    def __init__(self, data: bytes) -> None:
        timestamps = [int(digits) for digits in _TIMESTAMP.findall(data)]
        if not timestamps:
            raise ValueError('must hold lines with a "timestamp", was without any')
        self._data = data
        self._first_ms = timestamps[0]
        gaps = (later - earlier for earlier, later in pairwise(timestamps) if later > earlier)
        # the first line follows the last one as one burst follows another
        self._length_ms = max(timestamps) - timestamps[0] + next(gaps, _DEFAULT_GAP_MS)

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Read *path* wholly.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds no line with a timestamp.
        """
        return cls(path.read_bytes())

    def bursts(self, speed: float) -> Iterator[Burst]:
        """Yield the lines, one a burst, without end: after the last comes the first again.

        Spacing is the recorded one divided by *speed*. A line without a timestamp follows its
        neighbour unchanged.
        """
        begin_ms = 0.0
        while True:
            at_ms = begin_ms
            for line in io.BytesIO(self._data):
                whole = line if line.endswith(b"\n") else line + b"\n"
                stamp = _TIMESTAMP.search(whole)
                if stamp is None:
                    yield Burst(at_ms, (whole,))
                    continue
                at_ms = begin_ms + (int(stamp[1]) - self._first_ms) / speed
                yield Burst(at_ms, (whole[: stamp.start(1)], whole[stamp.end(1) :]))
            begin_ms += self._length_ms / speed
