"""A recorded feed, played again as if it were happening now."""

import re
import threading
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import BinaryIO

from marketflow.adapters.exchange.wire import CHUNK_BYTES, LineCutter
from marketflow.application.ports import Clock, Instant
from marketflow.domain.errors import FeedLost
from marketflow.domain.tick import Decoded

# 12 to 14 digits: milliseconds from the year 1973 to 5138, and nothing a decoder would refuse
_TIMESTAMP = re.compile(rb'("timestamp"\s*+:\s*+)([1-9][0-9]{11,13}+)(?=\s*+[,}])')
_MAX_GAP_MS = 60_000
_PAUSE_S = 0.1


class ReplaySource:
    """Plays the lines of *file*, *speed* times as fast as recorded, from the beginning for ever.

    Timestamps are moved: the first line of each turn happens now, the others keep their distance
    divided by *speed*. A jump of more than a minute, either way, is played without a pause.
    Lines without a usable timestamp are passed on unchanged, right after the line before. Between
    the turns passes a tenth of a second.
    """

    def __init__(
        self,
        exchange: str,
        file: Path,
        *,
        speed: float,
        clock: Clock,
        decode: Callable[[bytes, int], Decoded],
    ) -> None:
        if not (isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be a finite number above 0, was {speed!r}")
        self.exchange = exchange
        self.address = str(file)
        self._file = file
        self._speed = speed
        self._clock = clock
        self._decode = decode
        self._closed = threading.Event()

    def chunks(self) -> Iterator[bytes]:
        """Open the file, yield an empty chunk to say so, then lines that are due, until closed.

        Raises:
            FeedLost: the file cannot be read or is empty; call again.
        """
        if self._closed.is_set():
            return
        try:
            with self._file.open("rb") as file:
                if not file.read(1):
                    raise FeedLost(f"{self.exchange} at {self.address}: the file is empty")
                yield b""
                while not self._closed.is_set():
                    file.seek(0)
                    yield from self._play(file)
                    self._closed.wait(_PAUSE_S)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise FeedLost(f"{self.exchange} at {self.address}: {reason}") from error

    def decode(self, chunk: bytes, received_ms: int) -> Decoded:
        return self._decode(chunk, received_ms)

    def close(self) -> None:
        self._closed.set()

    def _play(self, file: BinaryIO) -> Iterator[bytes]:
        schedule = _Schedule(self._clock.now(), self._speed)
        due: list[bytes] = []
        size = 0
        for recorded in _lines(file):
            line, due_ms = schedule.place(recorded)
            wait_ms = due_ms - self._clock.now().mono_ms
            if due and (wait_ms > 0 or size + len(line) > CHUNK_BYTES):
                yield b"".join(due)
                due, size = [], 0
            if self._closed.wait(wait_ms / 1000) if wait_ms > 0 else self._closed.is_set():
                return
            due.append(line)
            size += len(line)
        if due:
            yield b"".join(due)


class _Schedule:
    """When each line of one turn happens."""

    def __init__(self, start: Instant, speed: float) -> None:
        self._start = start
        self._speed = speed
        self._recorded_ms: int | None = None  # timestamp of the line before
        self._elapsed_ms = 0  # in the recording, without its jumps

    def place(self, line: bytes) -> tuple[bytes, int]:
        """Return *line* with its new timestamp, and when it is due, in monotonic milliseconds."""
        found = _TIMESTAMP.search(line)
        if found is not None:
            recorded_ms = int(found[2])
            gap_ms = 0 if self._recorded_ms is None else recorded_ms - self._recorded_ms
            if abs(gap_ms) <= _MAX_GAP_MS:
                self._elapsed_ms += gap_ms
            self._recorded_ms = recorded_ms
            moved = b"%d" % (self._start.wall_ms + self._played_ms())
            line = line[: found.start(2)] + moved + line[found.end(2) :]
        return line, self._start.mono_ms + self._played_ms()

    def _played_ms(self) -> int:
        return int(self._elapsed_ms / self._speed)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    cutter = LineCutter(CHUNK_BYTES)
    while data := file.read(CHUNK_BYTES):
        yield from _each(cutter.cut(data))
    yield from _each(cutter.end())


def _each(lines: bytes) -> Iterator[bytes]:
    # not splitlines: a bare carriage return ends no line
    for line in lines.split(b"\n")[:-1]:
        yield line + b"\n"
