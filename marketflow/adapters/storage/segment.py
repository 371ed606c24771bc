"""A file of the journal: a header, then one record per chunk, each with its checksum."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from marketflow.application.ports import JournalRecord
from marketflow.domain.errors import MarketflowError
from marketflow.domain.mode import Mode

_HEADER = struct.Struct("<7sq")  # magic, when what came before it was received
_HEADER_MAGIC = b"MFSEG2\n"
_START = struct.Struct("<4sI")  # magic, checksum of all that follows
_META = struct.Struct("<IHBqq")  # bytes of the chunk, bytes of the source, mode, number, received
_WHOLE = struct.Struct("<4sIIHBqq")  # both, as the reader takes them
_RECORD_MAGIC = b"MFR1"
_MODES = (Mode.LIVE, Mode.TEST)
_CODES = {mode: code for code, mode in enumerate(_MODES)}
_NAME = re.compile(r"(\d{10,18})-(\d{1,18})\.seg")

SEGMENT_MS = 60_000


class BadRecord(MarketflowError):
    """From *offset* on the segment cannot be read."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        super().__init__(f"no readable record at byte {offset}")


@dataclass(slots=True)
class Segment:
    """A segment's place in the journal, and its size so far."""

    path: Path
    serial: int
    start_ms: int  # when its first chunk was received
    size_bytes: int

    @classmethod
    def create(cls, directory: Path, serial: int, start_ms: int) -> "Segment":
        """Name a segment; *serial* keeps the order of arrival whatever clocks do."""
        path = directory / f"{serial:010d}-{start_ms}.seg"
        return cls(path, serial, start_ms, 0)

    @classmethod
    def find(cls, directory: Path) -> "list[Segment]":
        """Return the segments in *directory*, first to last.

        Raises:
            OSError: it cannot be listed.
        """
        named = ((path, _NAME.fullmatch(path.name)) for path in directory.iterdir())
        found = [
            cls(path, int(match[1]), int(match[2]), path.stat().st_size)
            for path, match in named
            if match
        ]
        return sorted(found, key=lambda segment: segment.serial)

    @property
    def until_ms(self) -> int:
        """By when all of its chunks had been received."""
        return self.start_ms - self.start_ms % SEGMENT_MS + SEGMENT_MS

    @property
    def is_blank(self) -> bool:
        """Whether its process died before it wrote anything to it."""
        return self.size_bytes < _HEADER.size

    def complete_from_ms(self) -> int:
        """From when on every chunk is in this segment or a later one; 0 if none came before it."""
        try:
            with self.path.open("rb") as file:
                magic, complete_from_ms = _HEADER.unpack(file.read(_HEADER.size))
        except (OSError, struct.error):
            return self.start_ms
        return int(complete_from_ms) if magic == _HEADER_MAGIC else self.start_ms


def encode_header(complete_from_ms: int) -> bytes:
    """Return the bytes a segment begins with."""
    return _HEADER.pack(_HEADER_MAGIC, complete_from_ms)


def encode_start(record: JournalRecord) -> bytes:
    """Return the bytes that go before the record's chunk."""
    mode, source, number, received_ms, chunk = record
    name = source.encode()
    meta = _META.pack(len(chunk), len(name), _CODES[mode], number, received_ms) + name
    return _START.pack(_RECORD_MAGIC, crc32(chunk, crc32(meta))) + meta


def decode(data: bytes) -> Iterator[JournalRecord]:
    """Yield the records of a whole segment.

    Raises:
        BadRecord: torn, flipped, or nothing of ours; what came before it was yielded.
    """
    if data[: len(_HEADER_MAGIC)] != _HEADER_MAGIC or len(data) < _HEADER.size:
        raise BadRecord(0)
    view = memoryview(data)
    names: dict[bytes, str] = {}
    offset, size = _HEADER.size, len(data)
    while offset < size:
        name_at = offset + _WHOLE.size
        if name_at > size:
            raise BadRecord(offset)
        magic, checksum, length, name_length, code, number, received_ms = _WHOLE.unpack_from(
            data, offset
        )
        chunk_at = name_at + name_length
        end = chunk_at + length
        if (
            magic != _RECORD_MAGIC
            or end > size
            or code >= len(_MODES)
            or crc32(view[offset + _START.size : end]) != checksum
        ):
            raise BadRecord(offset)
        name = data[name_at:chunk_at]
        source = names.get(name)
        if source is None:
            source = names[name] = name.decode()
        yield JournalRecord(_MODES[code], source, number, received_ms, data[chunk_at:end])
        offset = end
