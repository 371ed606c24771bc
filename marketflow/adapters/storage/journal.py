"""The journal: every accepted chunk in segment files, one per minute, until its rows are safe."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from marketflow.adapters.storage.data_dir import make_private
from marketflow.adapters.storage.fault import Fault
from marketflow.adapters.storage.segment import (
    SEGMENT_MS,
    BadRecord,
    Segment,
    decode,
    encode_header,
    encode_start,
)
from marketflow.application.ports import JournalRecord, JournalStatus

log = logging.getLogger(__name__)

_SEGMENT_BYTES = 16 * 1024 * 1024  # a reader holds one whole segment in memory
_RETRY_MS = 1_000
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND


class FileJournal:
    """Segments in *directory*, appended to by any thread.

    Over *max_bytes* segments go early, the oldest first, if they are older than *rows_need_ms*:
    how long a minute can still change. If that is not enough, chunks are lost until `release`
    has made room. After a failure another segment is tried, at most once a second.
    """

    def __init__(self, directory: Path, *, max_bytes: int, rows_need_ms: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._rows_need_ms = rows_need_ms
        self._complete = _find(directory)  # segments that are not written any more
        self._earlier = [segment for segment in self._complete if not segment.is_blank]
        self._size = sum(segment.size_bytes for segment in self._complete)
        self._serial = self._complete[-1].serial if self._complete else 0
        # no chunk from then on came before the segment that is opened next
        self._since_ms = self._earlier[-1].until_ms if self._earlier else 0
        self._damaged = 0
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        # the segment being written, and what it may take: chunks received in [from, until), its
        # minute and the one before, since listeners overtake each other, and so many bytes
        self._current: Segment | None = None
        self._fd = -1
        self._header = b""  # goes before the first record, in the same write
        self._from_ms = self._until_ms = self._room = 0
        self._retired: list[int] = []  # closed by `sync`, which may be using them
        self._dirty = self._created = self._closed = False
        self._tried_ms = self._newest_ms = self._lost = 0
        self._writing = Fault("journal cannot be written", "journal is written again")
        self._syncing = Fault("journal cannot be synced", "journal is synced again")
        self._releasing = Fault("journal cannot be released", "journal is released again")

    def complete_from_ms(self) -> int:
        with self._lock:
            written = (segment for segment in self._complete if not segment.is_blank)
            oldest = next(written, self._current)
        return 0 if oldest is None else oldest.complete_from_ms()

    def replay(self) -> Iterator[JournalRecord]:
        for segment in self._earlier:
            name = segment.path.name
            try:
                yield from decode(segment.path.read_bytes())
            except BadRecord as error:
                self._damaged += 1
                log.warning(
                    "journal segment is damaged, going on with the next one",
                    extra={"segment": name, "offset": error.offset},
                )
            except OSError as error:
                log.warning(
                    "journal segment cannot be read, going on with the next one",
                    extra={"segment": name, "reason": _reason(error)},
                )

    def append(self, record: JournalRecord) -> None:
        start = encode_start(record)
        chunk, at_ms = record.chunk, record.received_ms
        length = len(start) + len(chunk)
        with self._lock:
            fits = length <= self._room and self._from_ms <= at_ms < self._until_ms
            if not fits and not self._next_segment(at_ms, length):
                self._lose(at_ms)
                return
            if self._header:
                start, self._header = self._header + start, b""
                length = len(start) + len(chunk)
            try:
                written = os.writev(self._fd, (start, chunk))
            except OSError as error:
                self._break_off(_reason(error), at_ms)
                return
            if written != length:
                self._break_off(f"only {written} of {length} bytes were taken", at_ms)
                return
            assert self._current is not None
            self._since_ms = at_ms + 1
            self._current.size_bytes += length
            self._size += length
            self._room -= length
            self._dirty = True
            self._newest_ms = at_ms
            if self._writing.problem is not None:
                self._writing.end(at_ms, lost_chunks=self._lost)

    def sync(self) -> None:
        with self._sync_lock:
            with self._lock:
                retired, self._retired = self._retired, []
                dirty = [*retired, self._fd] if self._dirty else retired
                created, self._created, self._dirty = self._created, False, False
            reason = _force(dirty, self._directory if created else None)
            for fd in retired:
                os.close(fd)
        with self._lock:
            if reason is not None:
                self._syncing.begin(reason, self._newest_ms)
            elif dirty:
                self._syncing.end(self._newest_ms)
            if self._current is not None and os.fstat(self._fd).st_nlink == 0:
                log.warning("journal segment was deleted, starting another")
                self._retire()

    def release(self, before_ms: int) -> None:
        with self._lock:
            self._delete([segment for segment in self._complete if segment.until_ms <= before_ms])

    def status(self) -> JournalStatus:
        faults = (self._writing, self._syncing, self._releasing)
        problems = [fault.problem for fault in faults if fault.problem is not None]
        problem = problems[0] if problems else None
        return JournalStatus(self._size, problem, self._lost, self._damaged)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._retire()
        self.sync()

    def _next_segment(self, at_ms: int, length: int) -> bool:
        if self._closed:
            raise RuntimeError("journal is closed")
        failing = self._writing.problem is not None
        if failing and 0 <= at_ms - self._tried_ms < _RETRY_MS:
            return False
        self._tried_ms = at_ms
        self._retire()
        if not self._make_room(at_ms, length + len(encode_header(0))):
            reason = f"journal.max_bytes ({self._max_bytes}) is full of chunks still needed"
            self._writing.begin(reason, at_ms)
            return False
        try:
            self._open(at_ms)
        except OSError as error:
            self._writing.begin(_reason(error), at_ms)
            return False
        self._room = min(max(_SEGMENT_BYTES, length), self._max_bytes - self._size)
        return True

    def _open(self, at_ms: int) -> None:
        make_private(self._directory)
        segment = Segment.create(self._directory, self._serial + 1, at_ms)
        self._fd = os.open(segment.path, _FLAGS, 0o600)
        self._header = encode_header(min(self._since_ms, at_ms + 1))
        self._serial += 1
        self._current = segment
        self._until_ms = segment.until_ms
        self._from_ms = segment.until_ms - 2 * SEGMENT_MS
        self._created = True

    def _break_off(self, reason: str, at_ms: int) -> None:
        assert self._current is not None
        self._lose(at_ms)
        self._writing.begin(reason, at_ms)
        # a torn tail is skipped by readers, so it may stay if it cannot be cut off
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._current.size_bytes)
        self._retire()

    def _lose(self, at_ms: int) -> None:
        self._lost += 1
        self._since_ms = at_ms + 1

    def _retire(self) -> None:
        if self._current is None:
            return
        self._complete.append(self._current)
        if self._current.size_bytes == 0:
            self._delete([self._current])
        self._retired.append(self._fd)
        self._current, self._fd, self._room, self._dirty = None, -1, 0, False

    def _make_room(self, at_ms: int, length: int) -> bool:
        while self._size + length > self._max_bytes:
            oldest = self._complete[:1]
            if not oldest or oldest[0].until_ms > at_ms - self._rows_need_ms:
                return False
            if not self._delete(oldest):
                return False
        return True

    def _delete(self, segments: Iterable[Segment]) -> bool:
        for segment in segments:
            try:
                segment.path.unlink(missing_ok=True)
            except OSError as error:
                self._releasing.begin(_reason(error), self._newest_ms)
                return False
            self._complete.remove(segment)
            self._size -= segment.size_bytes
            self._releasing.end(self._newest_ms)
        return True


class NoJournal:
    """Keeps nothing, so minutes begun before the process started at *started_ms* are not whole."""

    def __init__(self, started_ms: int) -> None:
        self._started_ms = started_ms

    def complete_from_ms(self) -> int:
        return self._started_ms

    def replay(self) -> Iterator[JournalRecord]:
        yield from ()

    def append(self, record: JournalRecord) -> None:
        pass

    def sync(self) -> None:
        pass

    def release(self, before_ms: int) -> None:
        pass

    def status(self) -> JournalStatus:
        return JournalStatus(0, None, 0)

    def close(self) -> None:
        pass


def _find(directory: Path) -> list[Segment]:
    try:
        return Segment.find(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("journal cannot be listed", extra={"reason": _reason(error)})
        return []


def _force(fds: list[int], directory: Path | None) -> str | None:
    """Force *fds*, and the names in *directory*, to the disk; return why one could not be."""
    reason = None
    for fd in fds:
        try:
            os.fdatasync(fd)
        except OSError as error:
            reason = _reason(error)
    if directory is None:
        return reason
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        return _reason(error)
    try:
        os.fsync(fd)
    except OSError as error:
        reason = _reason(error)
    finally:
        os.close(fd)
    return reason


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
